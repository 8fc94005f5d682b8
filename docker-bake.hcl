# docker buildx bake            both flavours for both platforms
# docker buildx bake cpu --set cpu.platform=linux/arm64 --load

variable "TAG" { default = "latest" }

group "default" { targets = ["cpu", "cuda"] }

target "_common" {
  context    = "."
  dockerfile = "Dockerfile"
  platforms  = ["linux/amd64", "linux/arm64"]
}

target "cpu" {
  inherits = ["_common"]
  args     = { FLAVOR = "cpu" }
  tags     = ["backpropagate:${TAG}-cpu"]
}

target "cuda" {
  inherits = ["_common"]
  args     = { FLAVOR = "cuda" }
  tags     = ["backpropagate:${TAG}-cuda"]
}
