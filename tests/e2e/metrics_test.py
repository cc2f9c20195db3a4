"""The admin port and the request log of the real server: read as text, checked by promtool, scraped
by a real Prometheus.

    python tests/e2e/metrics_test.py

Needs Debian's package `prometheus`: the programs prometheus and promtool.
"""

import contextlib
import json
import pathlib
import shutil
import socket
import subprocess
import tempfile
import unittest
import urllib.error
import urllib.parse
import urllib.request

import grpc
import harness
import pictures
from harness import ask, request, wait_until

WAIT_SECONDS = 60
SECRET = "xylophone"


def program(name):
    path = shutil.which(name)
    if path is None:
        raise AssertionError(f"{name} is missing: install Debian's package `prometheus`")
    return path


def get(address, path):
    """(status, content type, body)"""
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=harness.CALL_SECONDS) as reply:
            return reply.status, reply.headers["Content-Type"], reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers["Content-Type"], error.read().decode()


def samples(server):
    """harness.metrics(), names without the prefix."""
    found = harness.metrics(server).items()
    return {name.removeprefix("glimpse_"): value for name, value in found}


def calls_ended(server):
    return harness.total(harness.metrics(server), "glimpse_requests_total")


def ask_questions(server):
    """Three answers, one with a picture, and one refusal."""
    answers = [
        ask(server.chat, request(f"What is {SECRET}?", request_id="one", max_tokens=5, **ENDLESS)),
        ask(server.chat, request("hello", max_tokens=3, **ENDLESS)),
        ask(server.chat, request("hello", image=pictures.noise("JPEG"), max_tokens=3, **ENDLESS)),
    ]
    with contextlib.suppress(grpc.RpcError):
        ask(server.chat, request("hello", image=pictures.cut("JPEG")))
    wait_until(lambda: calls_ended(server) == 4)
    return answers


ENDLESS = {"ignore_eos": True, "temperature": 0}


class MetricsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = harness.Server("--max_batch_size=4")
        cls.addClassCleanup(cls.server.__exit__, None, None, None)
        cls.answers = ask_questions(cls.server)

    def test_counts_are_what_the_clients_saw(self):
        found = samples(self.server)
        usages = [answer.finished.usage for answer in self.answers]
        self.assertEqual(found['requests_total{code="OK",reason="LENGTH"}'], 3)
        refused = 'requests_total{code="INVALID_ARGUMENT",reason="IMAGE_CORRUPT"}'
        self.assertEqual(found[refused], 1)
        self.assertEqual(found['images_rejected_total{reason="IMAGE_CORRUPT"}'], 1)
        images = sum(usage.image_tokens for usage in usages)
        self.assertGreater(images, 0)
        self.assertEqual(found['tokens_total{kind="image"}'], images)
        prompts = sum(usage.prompt_tokens for usage in usages) - images
        self.assertEqual(found['tokens_total{kind="prompt"}'], prompts)
        self.assertEqual(found['tokens_total{kind="completion"}'], 5 + 3 + 3)
        self.assertEqual(found["time_to_first_token_seconds_count"], 3)
        self.assertEqual(found["inter_token_latency_seconds_count"], 4 + 2 + 2)
        self.assertEqual(found["image_bytes_count"], 2)
        self.assertEqual(found["image_pixels_sum"], 64 * 48)
        self.assertEqual(found["vision_encode_seconds_count"], 1)
        self.assertEqual(found['decode_step_seconds_count{rows="4"}'], 4 + 2 + 2)

    def test_times_are_those_of_the_answers(self):
        found = samples(self.server)
        timings = [answer.finished.timing for answer in self.answers]
        first = sum(t.time_to_first_token.ToNanoseconds() for t in timings) / 1e9
        self.assertAlmostEqual(found["time_to_first_token_seconds_sum"], first, delta=0.05)
        prefill = sum(timing.prefill.ToNanoseconds() for timing in timings) / 1e9
        self.assertAlmostEqual(found["prefill_seconds_sum"], prefill, places=6)

    def test_an_idle_server_says_so(self):
        found = wait_until(
            lambda: (now := samples(self.server))["requests_running"] == 0 and now
        )
        self.assertEqual(found["requests_waiting"], 0)
        self.assertEqual(found["batch_rows"], 0)
        self.assertEqual(found['kv_blocks{state="live"}'], 0)
        self.assertGreater(found['kv_blocks{state="free"}'], 0)
        self.assertEqual(found["weights_loaded_ratio"], 1)
        self.assertGreater(found['gpu_memory_bytes{use="weights"}'], 0)

    def test_promtool_finds_nothing_to_say(self):
        status, kind, text = get(self.server.admin, "/metrics")
        self.assertEqual(status, 200)
        self.assertEqual(kind, "text/plain; version=0.0.4; charset=utf-8")
        checked = subprocess.run(
            [program("promtool"), "check", "metrics"], input=text, capture_output=True, text=True
        )
        self.assertEqual((checked.returncode, checked.stdout, checked.stderr), (0, "", ""))

    def test_health_over_http(self):
        self.assertEqual(get(self.server.admin, "/healthz")[0], 200)
        self.assertEqual(get(self.server.admin, "/readyz")[0], 200)
        self.assertEqual(get(self.server.admin, "/")[0], 404)

    def test_the_port_is_there_before_the_model(self):
        starts = [line.split()[0] for line in self.server.lines]
        self.assertLess(starts.index("metrics"), starts.index("weights"))

    def test_an_admin_port_that_cannot_be_ends_the_start(self):
        for address in (self.server.admin, "9090", "127.0.0.1:http"):
            command = [harness.SERVER, f"--model={harness.MODEL}", "--listen=127.0.0.1:0"]
            done = subprocess.run(
                [*command, f"--admin_listen={address}"],
                capture_output=True,
                text=True,
                timeout=harness.START_SECONDS,
            )
            self.assertEqual(done.returncode, 1)
            self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
            self.assertIn(address, done.stderr)

    def test_prometheus_scrapes_it(self):
        with tempfile.TemporaryDirectory(prefix="glimpse_prometheus_") as folder:
            with prometheus(pathlib.Path(folder), self.server.admin) as query:
                self.assertEqual(wait_until(lambda: query('up{job="glimpse"} == 1')), {(): 1})
                by_code = "sum by (code) (glimpse_requests_total) > 0"
                found = wait_until(lambda: query(by_code))
                self.assertEqual(found, {(("code", "OK"),): 3, (("code", "INVALID_ARGUMENT"),): 1})
                median = "histogram_quantile(0.5, glimpse_time_to_first_token_seconds_bucket)"
                self.assertGreater(query(median)[()], 0)


class LogTest(unittest.TestCase):
    def test_each_call_is_one_line_without_its_texts(self):
        with harness.Server() as server:
            answer = ask_questions(server)[0]
            server.terminate()
            server.wait()
            lines = [json.loads(line) for line in server.lines if line.startswith("{")]
            log = "\n".join(server.lines)
        self.assertEqual(len(lines), 4)
        line = next(line for line in lines if line.get("request_id") == "one")
        self.assertEqual((line["code"], line["reason"]), ("OK", "LENGTH"))
        self.assertEqual(line["prompt_tokens"], answer.finished.usage.prompt_tokens)
        self.assertEqual(line["completion_tokens"], 5)
        first = answer.finished.timing.time_to_first_token.ToNanoseconds() / 1e6
        self.assertAlmostEqual(line["first_token_ms"], first, delta=0.001)
        self.assertGreaterEqual(line["total_ms"], first)
        self.assertIn("IMAGE_CORRUPT", [line["reason"] for line in lines])
        self.assertNotIn(SECRET, log)

    def test_it_can_be_switched_off_and_so_can_the_port(self):
        with harness.Server("--request_log=off", "--admin_listen=off") as server:
            ask(server.chat, request("hello", max_tokens=3))
            server.terminate()
            server.wait()
            self.assertIsNone(server.admin)
            self.assertFalse([line for line in server.lines if line.startswith("{")])


@contextlib.contextmanager
def prometheus(folder, target):
    """A Prometheus that scrapes `target` every second; yields a function that asks it a query and
    returns {((label, value), ...): number}, without the labels that Prometheus adds."""
    config = folder / "prometheus.yml"
    config.write_text(
        "global: {scrape_interval: 1s}\n"
        "scrape_configs:\n"
        f"- {{job_name: glimpse, static_configs: [{{targets: ['{target}']}}]}}\n"
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = "127.0.0.1:%d" % free.getsockname()[1]
    command = [program("prometheus"), f"--config.file={config}", f"--storage.tsdb.path={folder}/data"]
    log = open(folder / "log", "w+")
    process = subprocess.Popen(
        [*command, f"--web.listen-address={address}"], stdout=log, stderr=subprocess.STDOUT
    )

    def query(text):
        if process.poll() is not None:
            raise AssertionError("prometheus ended:\n" + (folder / "log").read_text())
        try:
            reply = get(address, "/api/v1/query?" + urllib.parse.urlencode({"query": text}))
        except (urllib.error.URLError, ConnectionError):
            return {}  # it has just been started
        if reply[0] != 200:
            return {}
        added = ("__name__", "instance", "job")
        return {
            tuple((k, v) for k, v in sorted(entry["metric"].items()) if k not in added): float(
                entry["value"][1]
            )
            for entry in json.loads(reply[2])["data"]["result"]
        }

    try:
        yield query
    finally:
        process.terminate()
        process.wait(timeout=WAIT_SECONDS)
        log.close()


if __name__ == "__main__":
    unittest.main(verbosity=2)
