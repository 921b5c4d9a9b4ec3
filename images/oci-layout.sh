# shellcheck shell=bash
# Writes OCI image layouts with nothing but coreutils and tar. Sourced by make-busybox and by the tests' make-debian.
# The same files give the same digests on every machine: no times but SOURCE_DATE_EPOCH, no names of users.

SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-1672531200}

# pack_layer DIRECTORY TAR [TAR-OPTION...]: the directory's contents as a layer, with numeric owners.
pack_layer() {
  local directory=$1 tar=$2
  shift 2
  tar --sort=name --mtime="@$SOURCE_DATE_EPOCH" --clamp-mtime --numeric-owner --format=posix \
    --pax-option='exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime' "$@" -C "$directory" -cf "$tar" .
}

# oci_put_blob LAYOUT FILE: moves a file to its digest's name; prints "sha256:DIGEST SIZE".
oci_put_blob() {
  local digest size
  digest=$(sha256sum <"$2")
  digest=${digest%% *}
  size=$(stat -c %s "$2")
  mv "$2" "$1/blobs/sha256/$digest"
  echo "sha256:$digest $size"
}

# write_oci_layout LAYOUT LAYER-TAR TAG CONFIG: makes the directory LAYOUT with an image of one layer. CONFIG is the
# JSON object of the image's run-time settings, such as {"Cmd":["/bin/sh"]}. LAYER-TAR stays.
write_oci_layout() {
  local layout=$1 layer=$2 tag=$3 config=$4 created diff_id blob digest size layer_ref config_ref
  created=$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)
  mkdir -p "$layout/blobs/sha256"
  diff_id=$(sha256sum <"$layer")
  gzip -6 -n <"$layer" >"$layout/layer"
  blob=$(oci_put_blob "$layout" "$layout/layer")
  read -r digest size <<<"$blob"
  layer_ref="{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar+gzip\",\"digest\":\"$digest\",\"size\":$size}"
  printf '{"created":"%s","architecture":"amd64","os":"linux","config":%s,"rootfs":{"type":"layers","diff_ids":["sha256:%s"]},"history":[{"created":"%s"}]}' \
    "$created" "$config" "${diff_id%% *}" "$created" >"$layout/config"
  blob=$(oci_put_blob "$layout" "$layout/config")
  read -r digest size <<<"$blob"
  config_ref="{\"mediaType\":\"application/vnd.oci.image.config.v1+json\",\"digest\":\"$digest\",\"size\":$size}"
  printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":%s,"layers":[%s]}' \
    "$config_ref" "$layer_ref" >"$layout/manifest"
  blob=$(oci_put_blob "$layout" "$layout/manifest")
  read -r digest size <<<"$blob"
  printf '{"imageLayoutVersion":"1.0.0"}' >"$layout/oci-layout"
  printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"%s","size":%s,"annotations":{"org.opencontainers.image.ref.name":"%s"},"platform":{"architecture":"amd64","os":"linux"}}]}' \
    "$digest" "$size" "$tag" >"$layout/index.json"
}
