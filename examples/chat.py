"""The smallest Python client: asks one question about a picture, prints the answer as it comes.

    pip install grpcio grpcio-tools
    python examples/chat.py 127.0.0.1:50051 picture.jpg "What is this?"
"""

import pathlib
import sys

import grpc

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "proto"))
chat_pb2, chat_pb2_grpc = grpc.protos_and_services("glimpse/v1/chat.proto")


def main(address, picture, question):
    parts = [
        chat_pb2.Part(image=pathlib.Path(picture).read_bytes()),
        chat_pb2.Part(text=question),
    ]
    request = chat_pb2.ChatRequest(
        messages=[chat_pb2.Message(role=chat_pb2.ROLE_USER, parts=parts)]
    )
    with grpc.insecure_channel(address) as channel:
        for response in chat_pb2_grpc.ChatServiceStub(channel).Chat(request):
            print(response.delta.text, end="", flush=True)
    print()


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: chat.py HOST:PORT PICTURE QUESTION")
    try:
        main(*sys.argv[1:])
    except grpc.RpcError as error:
        sys.exit(f"{error.code().name}: {error.details()}")
