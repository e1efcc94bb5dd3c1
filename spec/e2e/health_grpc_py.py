"""A gRPC server of grpcio's own with its health service, told by lines on standard input what to say:
what health_grpc_py_test.sh checks. `health_grpc_py.py CERT KEY` also serves by TLS.

    set SERVICE STATUS    the service's status, "-" for the server's as a whole
    count                 how many checks it has answered
"""

import sys
from concurrent import futures

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc


class Counting(health.HealthServicer):
    checks = 0

    def Check(self, request, context):
        Counting.checks += 1
        return super().Check(request, context)


def main():
    servicer = Counting()
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    plain = server.add_insecure_port("127.0.0.1:0")
    with open(sys.argv[1], "rb") as cert, open(sys.argv[2], "rb") as key:
        credentials = grpc.ssl_server_credentials([(key.read(), cert.read())])
    secure = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()

    # One that has no health service at all.
    other = grpc.server(futures.ThreadPoolExecutor(max_workers=2))
    bare = other.add_insecure_port("127.0.0.1:0")
    other.start()

    print(f"ports {plain} {secure} {bare}", flush=True)
    for line in sys.stdin:
        words = line.split()
        if words[0] == "set":
            service = "" if words[1] == "-" else words[1]
            servicer.set(service, getattr(health_pb2.HealthCheckResponse, words[2]))
            print(f"set {words[1]} {words[2]}", flush=True)
        elif words[0] == "count":
            print(f"checks {Counting.checks}", flush=True)
    server.stop(0)
    other.stop(0)


main()
