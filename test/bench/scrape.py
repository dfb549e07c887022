"""What a scrape of /metrics costs with RUNS waiting CustomRuns and the records that scrape.sh has stored.

The binary runs against the fake API server. Scrapes come one after another on one connection, and so do as many GET
/healthz, which is the same way without the work. Processor time is the binary's own process_cpu_seconds_total.
"""

import http.client
import re
import sys
import tempfile
import threading
import time

import runs
from bench_row import row
from fes import Fake, Server

RUNS, SCRAPES = 10000, 2000


def value(text, name):
    return float(re.search(rf"^{name} (\S+)$", text, re.MULTILINE).group(1))


def times(connection, path):
    """Seconds of each of SCRAPES requests, ascending."""
    took = []
    for _ in range(SCRAPES):
        start = time.perf_counter()
        connection.request("GET", path)
        connection.getresponse().read()
        took.append(time.perf_counter() - start)
    return sorted(took)


def scrape(connection):
    connection.request("GET", "/metrics")
    return connection.getresponse().read().decode()


def create(fake, name):
    connection = fake.connect()
    path = fake.path("customruns", namespace="default")
    for i in range(RUNS // 4):
        fake.send(connection, "POST", path, runs.customrun(f"{name}-{i:05d}-wait", f"r-{name}"),
                  token=fake.control_token).read()
    connection.close()


def main(data_dir, directory):
    fake = Fake(directory + "/fake", "--plain")
    server = Server(directory + "/server", "--retention", "0", fake=fake, data_dir=data_dir)
    threads = [threading.Thread(target=create, args=(fake, name)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    wanted = f"""\nflux_event_store_kube_requests_total{{verb="patch",code="200"}} {RUNS}\n"""
    quiet = "\nflux_event_store_kube_pending_requests 0\n"
    runs.wait_until(lambda: wanted in (seen := scrape(connection)) and quiet in seen, deadline=120,
                    what="all Runs have been told to wait, and nothing is under way")
    text = scrape(connection)
    print(f"records {value(text, 'flux_event_store_store_records'):.0f}, "
          f"runs waiting {value(text, 'flux_event_store_runs_waiting'):.0f}, {len(text)} bytes of metrics")
    print("request    |  p50 us |  p99 us |  max us | processor us")
    for path in ("/healthz", "/metrics"):
        before = value(scrape(connection), "process_cpu_seconds_total")
        took = times(connection, path)
        cpu = value(scrape(connection), "process_cpu_seconds_total") - before
        print(f"{path:10} | {took[SCRAPES // 2] * 1e6:7.0f} | {took[SCRAPES * 99 // 100] * 1e6:7.0f} | "
              f"{took[-1] * 1e6:7.0f} | {cpu / SCRAPES * 1e6:7.0f}")
    row(f"a scrape of /metrics, {RUNS} Runs, p50", took[SCRAPES // 2] * 1e6, "us", "-", 0, f"{len(text)} bytes")
    server.stop()
    fake.stop()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(sys.argv[1], temporary)
