#!/usr/bin/env bash
# The bill of materials of a static binary, SPDX 2.3 as JSON, on stdout: the program, and the libraries in it with version,
# licence, and the two names by which scanners find their holes (package URL and CPE).
#
# usage: sbom.sh BINARY VERSION       ARCH, PKG_CONFIG, CC: as for libraries.sh; SOURCE_DATE_EPOCH: the time in it
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")

binary=$1
program_version=$2
checksum=$(sha256sum "$binary" | cut -d' ' -f1)
libraries=$("$here/libraries.sh" list)
epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}
distribution=$(sed -n 's/^ID=//p' /etc/os-release)
distro=$distribution-$(sed -n 's/^VERSION_ID="\{0,1\}\([^"]*\)"\{0,1\}$/\1/p' /etc/os-release)
arch=${ARCH:-$(dpkg --print-architecture)}

cat <<HEAD
{
  "spdxVersion": "SPDX-2.3",
  "dataLicense": "CC0-1.0",
  "SPDXID": "SPDXRef-DOCUMENT",
  "name": "flux-event-store-$program_version",
  "documentNamespace": "https://spdx.org/spdxdocs/flux-event-store-$program_version-$checksum",
  "creationInfo": {
    "created": "$(date -u -d "@$epoch" +%FT%TZ)",
    "creators": ["Tool: flux-event-store/.ci/sbom.sh"]
  },
  "documentDescribes": ["SPDXRef-program"],
  "packages": [
    {
      "SPDXID": "SPDXRef-program",
      "name": "flux-event-store",
      "versionInfo": "$program_version",
      "primaryPackagePurpose": "APPLICATION",
      "downloadLocation": "NOASSERTION",
      "filesAnalyzed": false,
      "licenseConcluded": "Apache-2.0",
      "licenseDeclared": "Apache-2.0",
      "copyrightText": "NOASSERTION",
      "supplier": "NOASSERTION",
      "checksums": [{"algorithm": "SHA256", "checksumValue": "$checksum"}]
    }
HEAD

while IFS=$'\t' read -r name version package source archive licence product; do
  purl="pkg:generic/$name@$version"
  supplier=NOASSERTION
  if [ "$package" != - ]; then
    # In a package URL a plus is written as %2B (github.com/package-url/purl-spec).
    purl="pkg:deb/$distribution/$archive@${package//+/%2B}?arch=$arch&distro=$distro&upstream=$source"
    supplier="Organization: ${distribution^}"
  fi
  cat <<PACKAGE
    ,{
      "SPDXID": "SPDXRef-$name",
      "name": "$name",
      "versionInfo": "$([ "$package" = - ] && echo "$version" || echo "$package")",
      "primaryPackagePurpose": "LIBRARY",
      "downloadLocation": "NOASSERTION",
      "filesAnalyzed": false,
      "licenseConcluded": "$licence",
      "licenseDeclared": "$licence",
      "copyrightText": "NOASSERTION",
      "supplier": "$supplier",
      "externalRefs": [
        {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": "$purl"},
        {"referenceCategory": "SECURITY", "referenceType": "cpe23Type",
         "referenceLocator": "cpe:2.3:a:$product:${version%-stable}:*:*:*:*:*:*:*"}
      ]
    }
PACKAGE
done <<<"$libraries"

echo '  ],'
echo '  "relationships": ['
echo '    {"spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES", "relatedSpdxElement": "SPDXRef-program"}'
while IFS=$'\t' read -r name _; do
  echo "    ,{\"spdxElementId\": \"SPDXRef-program\", \"relationshipType\": \"STATIC_LINK\", \"relatedSpdxElement\": \"SPDXRef-$name\"}"
done <<<"$libraries"
echo '  ]'
echo '}'
