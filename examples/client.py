#!/usr/bin/env python3
"""Asks resembled from Python, over nothing but the .proto files: what resembles a picture, and what happens from now on.

    python3 -m pip install grpcio grpcio-tools
    examples/client.py PICTURE [--follow]

RESEMBLED_SOCKET says where the daemon is, where it is not at its usual place.
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "proto"))

import grpc

search, search_stubs = grpc.protos_and_services("resembled/v1/search.proto")
events, event_stubs = grpc.protos_and_services("resembled/v1/events.proto")


def similar(channel, picture):
    """Yields the ten nearest photos, page by page; the picture is sent once."""
    stub = search_stubs.SearchServiceStub(channel)
    request = search.SearchPhotosRequest(image=Path(picture).read_bytes(), k=10, page_size=5)
    while True:
        page = stub.SearchPhotos(request)
        yield from page.matches
        if not page.next_page_token:
            return
        request.ClearField("image")
        request.page_token = page.next_page_token


def main():
    picture, *more = sys.argv[1:]
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    socket = os.environ.get("RESEMBLED_SOCKET", f"{runtime}/resembled/resembled.sock")
    # Without it, grpcio sends the path as a host name, which no server in Rust takes.
    options = [("grpc.default_authority", "localhost")]
    with grpc.insecure_channel(f"unix:{socket}", options) as channel:
        # Opened first, so that nothing falls in between. Who keeps the last `sequence` goes on behind it after a restart, by `after`.
        stream = event_stubs.EventServiceStub(channel).WatchEvents(events.WatchEventsRequest())
        next(stream)
        for match in similar(channel, picture):
            print(f"{match.distance:.4f}  {match.photo.files[0].uri}", flush=True)
        while "--follow" in more:
            for event in next(stream).events:
                print(events.EventKind.Name(event.kind), event.uri, flush=True)


if __name__ == "__main__":
    try:
        main()
    except grpc.RpcError as error:
        sys.exit(error.details())
