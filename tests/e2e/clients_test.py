"""The programs that people run: glimpse-chat, the two examples, glimpse-inspect."""

import json
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import unittest

import harness
import numpy
import pictures
from harness import ask, request

CHAT = str(harness.BIN / "glimpse-chat")
INSPECT = str(harness.BIN / "glimpse-inspect")
GREEDY = {"temperature": 0, "max_tokens": 12}
GREEDY_FLAGS = ["--temperature=0", "--max_tokens=12"]


def run(*command, stdin=""):
    done = subprocess.run(
        command, input=stdin.encode(), capture_output=True, timeout=harness.CALL_SECONDS
    )
    done.stdout = done.stdout.decode(errors="replace")
    done.stderr = done.stderr.decode(errors="replace")
    return done


class ClientsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = harness.Server("--max_batch_size=4")
        cls.addClassCleanup(cls.server.__exit__, None, None, None)
        cls.folder = tempfile.TemporaryDirectory(prefix="glimpse_clients_")
        cls.addClassCleanup(cls.folder.cleanup)
        cls.picture = pathlib.Path(cls.folder.name) / "picture.jpg"
        cls.image = pictures.noise("JPEG")
        cls.picture.write_bytes(cls.image)

    def chat(self, *arguments, stdin=""):
        return run(CHAT, f"--server={self.server.address}", *arguments, stdin=stdin)

    def expected(self, *texts, image=None):
        return ask(self.server.chat, request(*texts, image=image, **GREEDY)).text

    def assert_one_line(self, done, code, *words):
        self.assertEqual(done.returncode, code, done.stderr)
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)

    def test_chat_answers_one_question_and_tells_the_times(self):
        done = self.chat(f"--image={self.picture}", *GREEDY_FLAGS, "What", "is", "this?")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stdout, self.expected("What is this?", image=self.image) + "\n")
        self.assertRegex(done.stderr, r"first token after \d+ ms; \d+ tokens")

    def test_chat_keeps_the_history_until_new(self):
        done = self.chat(
            f"--image={self.picture}", *GREEDY_FLAGS, stdin="What?\nAnd then?\n/new\nWhat?\n"
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        first = self.expected("What?", image=self.image)
        turns = ["What?", first, "And then?"] if first else ["And then?"]
        second = self.expected(*turns, image=self.image)
        self.assertEqual(done.stdout, f"{first}\n{second}\n{self.expected('What?')}\n")

    def test_chat_takes_a_picture_between_questions(self):
        stdin = f"What?\n/image {self.picture}\nWhat?\n/image /nope\n"
        done = self.chat(*GREEDY_FLAGS, stdin=stdin)
        with_picture = self.expected("What?", image=self.image)
        self.assertEqual(done.stdout, f"{self.expected('What?')}\n{with_picture}\n")
        self.assertIn("/nope", done.stderr)

    def test_an_interrupt_cancels_the_running_answer(self):
        wild = {"temperature": 10, "top_p": 1, "max_tokens": 900}  # seldom writes a stop token
        question = "Tell a long story."
        for seed in range(50):
            answer = ask(self.server.chat, request(question, seed=seed, **wild))
            if len(answer.token_ids) == wild["max_tokens"]:
                break
        flags = [f"--{name}={value}" for name, value in wild.items()]
        command = [CHAT, f"--server={self.server.address}", *flags, f"--seed={seed}", question]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        process.stdout.read(1)  # the answer has begun
        process.send_signal(signal.SIGINT)
        text, errors = process.communicate(timeout=harness.CALL_SECONDS)
        self.assertEqual(process.returncode, 1)
        self.assertIn(b"CANCELLED", errors)
        self.assertLess(len(text), len(answer.text.encode()))

    def test_chat_errors_are_one_line_with_code_reason_and_message(self):
        bad = pathlib.Path(self.folder.name) / "bad.jpg"
        bad.write_bytes(b"no picture")
        done = self.chat(f"--image={bad}", "What?")
        self.assert_one_line(done, 1, "INVALID_ARGUMENT: IMAGE_UNSUPPORTED: the picture")
        done = self.chat("--temperature=-1", "--top_p=2", "What?")
        fields = ("generation.temperature", "generation.top_p")
        self.assert_one_line(done, 1, "INVALID_FIELD", *fields)
        self.assert_one_line(self.chat("--image=/nope.jpg", "What?"), 1, "/nope.jpg")
        self.assert_one_line(run(CHAT, "--server=127.0.0.1:1", "What?"), 1, "UNAVAILABLE")
        self.assert_one_line(self.chat("--nope", "What?"), 1, "nope")

    def test_the_examples(self):
        script = str(harness.ROOT / "examples/chat.py")
        for command in ([str(harness.BIN / "chat-example")], [sys.executable, script]):
            done = run(*command, self.server.address, str(self.picture), "What is this?")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertTrue(done.stdout.strip())


class InspectTest(unittest.TestCase):
    def inspect(self, *arguments, stdin=""):
        done = run(INSPECT, f"--model={harness.MODEL}", *arguments, stdin=stdin)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_tokenize_and_detokenize_are_inverse(self):
        texts = ["Hello, world!", "你好，世界", "a\n\n  b\t", "👩‍👩‍👧 <|user|>", ""]
        lines = "".join(json.dumps(text) + "\n" for text in texts)
        ids = self.inspect("tokenize", stdin=lines)
        self.assertEqual(len(ids.splitlines()), len(texts))
        back = self.inspect("detokenize", stdin=ids)
        self.assertEqual([json.loads(line) for line in back.splitlines()], texts)

    def test_image_and_logits_and_model(self):
        with tempfile.TemporaryDirectory() as folder:
            picture = pathlib.Path(folder) / "picture.png"
            picture.write_bytes(pictures.plain("PNG", (30, 20)))
            self.inspect("--size=native", f"--out={folder}/out.ppm", "image", str(picture))
            self.assertEqual(
                pathlib.Path(folder, "out.ppm").read_bytes(),
                b"P6\n30 20\n255\n" + bytes((200, 30, 30)) * 600,
            )
            message = {"role": "user", "text": "What?", "image": str(picture)}
            asked = pathlib.Path(folder) / "request.json"
            asked.write_text(json.dumps({"messages": [message]}))
            for flags in ([], ["--all"]):
                self.inspect(f"--out={folder}/logits.npy", *flags, "logits", str(asked))
                logits = numpy.load(f"{folder}/logits.npy")
                self.assertTrue(numpy.isfinite(logits).all())
                self.assertEqual(logits.shape[0] > 1, bool(flags))
        config = json.loads(pathlib.Path(harness.MODEL, "config.json").read_text())
        self.assertEqual(logits.shape[1], config["padded_vocab_size"])
        self.assertTrue(re.search(r"hidden \d+", self.inspect("model")))

    def test_errors_are_one_line(self):
        for arguments in (
            [],
            ["--nope"],
            ["nope"],
            ["tokenize"],
            ["model", "/nope"],
            ["image", "/nope", "--size=native"],
            ["logits", "x.json", f"--model={harness.MODEL}"],
            ["logits", "/nope.json", f"--model={harness.MODEL}", "--out=/dev/null"],
        ):
            with self.subTest(arguments=arguments):
                done = run(INSPECT, *arguments)
                self.assertIn(done.returncode, (1, 2))
                self.assertEqual(done.stderr.count("\n"), 1, done.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
