# Two images:
#
#   docker build --target serving -t registry.example/benison:0.1.0 .           serves, and fetches versions (docs/deploy.md)
#   docker build --target airflow -t registry.example/benison-airflow:0.1.0 .   trains, as a worker of Airflow (docs/airflow.md)
#
# Debian 12 has Python 3.11, so this is the track of TFX 1.16 (docs/second-track.md).
FROM debian:bookworm-slim AS base
RUN apt-get update \
  && apt-get install --yes --no-install-recommends ca-certificates python3 python3-venv tini \
  && rm -rf /var/lib/apt/lists/*
# Whole folders, because the links in `benison/` lead to the others.
COPY . /opt/benison
WORKDIR /opt/benison
ENTRYPOINT ["tini", "--"]

FROM base AS serving
RUN python3 .ci/bootstrap.py uv sync --locked --no-dev --extra store --python /usr/bin/python3 --no-cache
ENV PATH=/opt/benison/.venv/bin:/usr/local/bin:/usr/bin:/bin BENISON_BIND=0.0.0.0
USER 65534:65534
CMD ["benison-model-server", "--help"]

FROM base AS airflow
RUN apt-get update \
  && apt-get install --yes --no-install-recommends g++ git make python3-dev python3-pip \
  && rm -rf /var/lib/apt/lists/*
RUN make setup airflow-setup && useradd --uid 50000 --gid 0 --create-home airflow
# Airflow's programs come first. BENISON_PYTHON names TFX's interpreter.
ENV PATH=/opt/benison/.airflow-venv/bin:/usr/local/bin:/usr/bin:/bin \
  AIRFLOW_HOME=/home/airflow \
  BENISON_PYTHON=/opt/benison/.venv/bin/python \
  PYTHONPATH=/opt/benison/dags
USER 50000:0
CMD ["airflow", "version"]
