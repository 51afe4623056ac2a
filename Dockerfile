# trimask serve in a container. Build and run:
#   docker build -t trimask .
#   docker run --rm --read-only --tmpfs /tmp --restart unless-stopped -e TRIMASK_TOKEN -p 127.0.0.1:8378:8378 trimask
FROM python:3.12-slim AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY pyproject.toml README.md LICENSE trimask.py ./
COPY data_prep data_prep
COPY evaluate evaluate
COPY pipeline pipeline
COPY weights weights
RUN python -m venv /opt/trimask && /opt/trimask/bin/pip install ".[web,video]" \
    && /opt/trimask/bin/pip uninstall --yes opencv-python \
    && /opt/trimask/bin/pip install opencv-python-headless

FROM python:3.12-slim
COPY --from=build /opt/trimask /opt/trimask
RUN useradd --system --no-create-home --uid 10001 trimask
USER 10001
ENV PATH=/opt/trimask/bin:$PATH PYTHONDONTWRITEBYTECODE=1 MPLCONFIGDIR=/tmp OMP_WAIT_POLICY=passive
EXPOSE 8378
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD \
    ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8378/healthz', timeout=4)"]
ENTRYPOINT ["trimask", "serve", "--host", "0.0.0.0"]
