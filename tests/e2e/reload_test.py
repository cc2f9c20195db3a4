"""SIGHUP: the checkpoint's files as they are now, without a restart.

    python tests/e2e/reload_test.py
"""

import json
import os
import pathlib
import shutil
import signal
import sys
import tempfile
import threading
import time

import harness
from harness import ask, request
from safetensors.torch import load_file, save_file

HEAD = "transformer.output_layer.weight"
QUESTION = request("hello", temperature=0, max_tokens=12)
WAIT_SECONDS = 60


def wait_for(server, line):
    """Until the server has written a line that begins so, of those not seen yet."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not any(seen.startswith(line) for seen in server.lines):
        if time.monotonic() > deadline:
            raise AssertionError(f"no {line!r} in\n" + "\n".join(server.lines))
        time.sleep(0.02)
    server.wait_until_ready()
    server.lines.clear()


def hang_up(server, line):
    server.process.send_signal(signal.SIGHUP)
    wait_for(server, line)


def turn_output_layer(model):
    """Other weights of the same shapes: each id's row of the output layer goes to its opposite. The
    files are replaced, not written into: the server has them mapped."""
    shard = json.loads((model / "model.safetensors.index.json").read_text())["weight_map"][HEAD]
    tensors = load_file(model / shard)
    tensors[HEAD] = tensors[HEAD].flip(0).contiguous()
    save_file(tensors, model / "new")
    os.replace(model / "new", model / shard)


def check_running_stream(server, before):
    """A reload waits for a stream that runs, and the stream is answered by the old weights."""
    answers = []
    message = request("hello", temperature=0, max_tokens=400, ignore_eos=True)
    whole = ask(server.chat, message).token_ids
    started = threading.Event()

    def listen():
        ids = []
        for response in server.chat.Chat(message, timeout=harness.CALL_SECONDS):
            started.set()
            ids += response.delta.token_ids
        answers.append(ids)

    listener = threading.Thread(target=listen)
    listener.start()
    started.wait()
    hang_up(server, "reloaded")
    listener.join()
    assert answers == [whole], "the stream was not finished as it began"
    assert ask(server.chat, QUESTION).token_ids == before


def main():
    with tempfile.TemporaryDirectory() as folder:
        model = pathlib.Path(folder) / "model"
        shutil.copytree(harness.MODEL, model, ignore=shutil.ignore_patterns("*.py", "*.txt"))
        with harness.Server(model=str(model)) as server:
            before = ask(server.chat, QUESTION).token_ids
            check_running_stream(server, before)

            turn_output_layer(model)
            assert ask(server.chat, QUESTION).token_ids == before, "the old weights serve on"
            hang_up(server, "reloaded")
            turned = ask(server.chat, QUESTION).token_ids
            assert turned != before, "the new weights serve"

            config = (model / "config.json").read_text()
            (model / "config.json").write_text(config.replace('"num_layers": 3', '"num_layers": 2'))
            hang_up(server, "not reloaded: config.json")
            assert ask(server.chat, QUESTION).token_ids == turned, "a refused reload changes nothing"

            (model / "config.json").write_text(config)
            turn_output_layer(model)
            hang_up(server, "reloaded")
            assert ask(server.chat, QUESTION).token_ids == before, "and back"
    print("reload_test: ok")
    return 0


if __name__ == "__main__":
    sys.exit(main())
