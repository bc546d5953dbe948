#!/usr/bin/env python3
"""Searches with nothing but reflection: no generated code, no proto file.

    foreign_client.py SOCKET PICTURE

Lists the services, checks the health, and prints the ten nearest photos. Needs `grpcio`, `grpcio-reflection` and
`grpcio-health-checking`.
"""

import sys

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase


def main():
    socket, picture = sys.argv[1:]
    options = [("grpc.default_authority", "localhost")]
    with grpc.insecure_channel(f"unix:{socket}", options) as channel:
        reflection = ProtoReflectionDescriptorDatabase(channel)
        print("services:", *sorted(reflection.get_services()))
        health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        print("health:", health_pb2.HealthCheckResponse.ServingStatus.Name(health.status))

        pool = DescriptorPool(reflection)
        method = pool.FindServiceByName("resembled.v1.SearchService").FindMethodByName("SearchPhotos")
        request_type, response_type = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
        search = channel.unary_unary("/resembled.v1.SearchService/SearchPhotos",
                                     request_serializer=request_type.SerializeToString,
                                     response_deserializer=response_type.FromString)
        with open(picture, "rb") as file:
            response = search(request_type(image=file.read(), k=10))
        for match in response.matches:
            print(f"{match.distance:.4f}  {match.photo.files[0].path.decode(errors='replace')}")


if __name__ == "__main__":
    main()
