"""Checkpoints that are not the one in the repository: every size comes from their config.json."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

import grpc
import harness
import pictures
from harness import ask, chat_pb2, details_of, request

WRITER = harness.ROOT / "models/reference/random_checkpoint.py"
PICTURE = pictures.noise("JPEG")


class OtherModelsTest(unittest.TestCase):
    def serve(self, *arguments):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        model = pathlib.Path(folder.name) / "some-model"
        subprocess.run([sys.executable, WRITER, "--out", model, *arguments], check=True)
        server = harness.Server(model=model)
        self.addCleanup(server.__exit__, None, None, None)
        return server

    def describe(self, server):
        return server.chat.GetModel(chat_pb2.GetModelRequest(), timeout=harness.CALL_SECONDS)

    def test_a_text_only_checkpoint_serves_text_and_refuses_pictures(self):
        server = self.serve("--text-only")
        self.assertEqual(self.describe(server).limits.image_tokens, 0)
        answer = ask(server.chat, request("Hello", max_tokens=5, ignore_eos=True))
        self.assertEqual(answer.finished.usage.completion_tokens, 5)
        with self.assertRaises(grpc.RpcError) as raised:
            ask(server.chat, request("What is it?", image=PICTURE))
        self.assertEqual(raised.exception.code(), grpc.StatusCode.INVALID_ARGUMENT)
        details = details_of(raised.exception)
        self.assertEqual(details["ErrorInfo"].reason, "INVALID_FIELD")
        (violation,) = details["BadRequest"].field_violations
        self.assertEqual(violation.field, "messages[0].parts[0].image")

    def test_a_checkpoint_of_other_sizes_serves_pictures(self):
        server = self.serve("--seed", "7")
        model = self.describe(server)
        self.assertEqual(model.name, "some-model")
        answer = ask(
            server.chat, request("What is it?", image=PICTURE, max_tokens=5, ignore_eos=True)
        )
        self.assertEqual(answer.finished.usage.image_tokens, model.limits.image_tokens)
        self.assertEqual(answer.finished.usage.completion_tokens, 5)


if __name__ == "__main__":
    unittest.main()
