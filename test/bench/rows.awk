# The rows of all benches as one table (run.sh).
{
    verdict = "-"
    if ($5 == "<=") verdict = $3 + 0 <= $6 + 0 ? "reached" : "MISSED"
    if ($5 == ">=") verdict = $3 + 0 >= $6 + 0 ? "reached" : "MISSED"
    bar = $5 == "-" ? "" : $5 " " $6
    printf "%-62s %12s %-6s %-10s %-8s %s\n", $2, $3, $4, bar, verdict, $7
}
