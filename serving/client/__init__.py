"""Clients for asyncio, over REST and gRPC, of Benison's server, TensorFlow Serving and every server with its API."""

from benison.serving.client.grpc_client import GrpcClient
from benison.serving.client.protocol import Answer, ServerError, VersionStatus
from benison.serving.client.rest_client import RestClient

__all__ = ["Answer", "GrpcClient", "RestClient", "ServerError", "VersionStatus"]
