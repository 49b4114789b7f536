"""Ask the model `penguins` over REST and gRPC: `python client.py REST_PORT GRPC_PORT`."""

import asyncio
import sys

import numpy as np

from benison import GrpcClient, RestClient, ServerError

MODEL = "penguins"
ROWS = [
    {"island": "Biscoe", "bill_length_mm": 46.1, "bill_depth_mm": 13.2, "flipper_length_mm": 211, "body_mass_g": 4500},
    {"island": "Dream", "bill_length_mm": 39.5, "bill_depth_mm": 17.8, "flipper_length_mm": 188, "body_mass_g": 3300},
]


async def main(rest_port, grpc_port):
    """Print the state of the model's versions, then the same rows' classes from both protocols."""
    async with RestClient(port=rest_port) as rest, GrpcClient(f"127.0.0.1:{grpc_port}") as grpc:
        for status in await rest.status(MODEL):
            print(f"version {status.version} is {status.state}")

        rows = [{**row, "sex": "", "year": 2009} for row in ROWS]
        for answer in await rest.predict(MODEL, instances=rows, signature="raw"):
            print("REST", likeliest(answer["classes"], answer["probabilities"]))

        columns = {name: as_array([row[name] for row in rows]) for name in rows[0]}
        answer = await grpc.predict(MODEL, columns, signature="raw")
        for classes, probabilities in zip(answer["classes"], answer["probabilities"], strict=True):
            print("gRPC", likeliest([name.decode() for name in classes], probabilities))

        try:
            await rest.predict(MODEL, instances=[{"island": "Biscoe"}], signature="raw")
        except ServerError as error:  # the rest of the row is missing
            print(f"refused: {error.code}")


def as_array(values):
    """Return a column in the dtype of the signature `raw`: text, float32, or int64 for whole numbers."""
    return np.array(values, {str: np.object_, float: np.float32, int: np.int64}[type(values[0])])


def likeliest(classes, probabilities):
    """Return the class of the highest probability and that probability, as text."""
    best = int(np.argmax(probabilities))
    return f"{classes[best]} {probabilities[best]:.3f}"


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
