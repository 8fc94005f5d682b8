# The image of Backpropagate: the web app on port 7860, everything that it keeps under one volume.
# docker build --build-arg FLAVOR=cuda .      cpu (default) or cuda; both for amd64 and arm64 by docker-bake.hcl

ARG PYTHON=3.11

# The bundle is files for a browser, so it is built once, on the machine that builds, for every platform.
FROM --platform=$BUILDPLATFORM python:${PYTHON}-slim-bookworm AS wheel
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY constraints.txt ./
RUN pip install -c constraints.txt --index-url https://download.pytorch.org/whl/cpu torch==2.13.0
COPY . .
RUN pip install -c constraints.txt -e '.[ui,build]' \
 && python -m backprop_app.build \
 && python -m build --wheel --outdir /wheel

FROM python:${PYTHON}-slim-bookworm AS run
ARG FLAVOR=cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PATH=/opt/backpropagate/bin:$PATH
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
COPY constraints.txt /opt/constraints.txt
# The biggest part first, so that a new version of the product does not fetch it again.
RUN python -m venv /opt/backpropagate \
 && case "$FLAVOR" in \
      cpu) pip install -c /opt/constraints.txt --index-url https://download.pytorch.org/whl/cpu torch==2.13.0 ;; \
      cuda) pip install -c /opt/constraints.txt torch==2.13.0 ;; \
      *) echo "FLAVOR is cpu or cuda, not $FLAVOR" >&2; exit 1 ;; \
    esac
RUN --mount=type=bind,from=wheel,source=/wheel,target=/wheel \
    wheel=$(echo /wheel/backpropagate-*.whl) \
 && pip install -c /opt/constraints.txt "backpropagate[ui,export] @ file://$wheel" \
 && python -m compileall -q /opt/backpropagate/lib \
 && echo "$FLAVOR" > /opt/backpropagate/backpropagate-image \
 && useradd --uid 10001 --user-group --create-home --home-dir /home/backprop backprop \
 && install -d -m 0700 -o backprop -g backprop /home/backprop/.backpropagate

# The root file system is read-only in compose.yaml: caches go to the volume or to the memory of /tmp.
ENV HOME=/home/backprop \
    BACKPROPAGATE_HOME=/home/backprop/.backpropagate \
    HF_HOME=/home/backprop/.backpropagate/cache/huggingface \
    XDG_CACHE_HOME=/tmp/cache \
    TRITON_CACHE_DIR=/tmp/triton \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUTF8=1
USER 10001:10001
WORKDIR /home/backprop
VOLUME ["/home/backprop/.backpropagate"]
EXPOSE 7860
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
  CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:7860/healthz', timeout=4)"]
ENTRYPOINT ["backprop"]
CMD ["ui", "--host", "0.0.0.0", "--no-open"]
