#!/usr/bin/env bash
# Guards the arrows between crates (ARCHITECTURE.md): fails and prints the path by which a crate
# links something that its row does not allow. Only normal dependencies count; tests may use more.
set -euo pipefail
cd "$(dirname "$0")/.."

# crate | own crates it may link, directly or not | may it link a tensor library (burn)?
table='
ufo-data    |                                                              | no
ufo-nas     |                                                              | no
ufo-onnx    |                                                              | no
ufo-weights |                                                              | no
ufo-kernels |                                                              | no
ufo-runtime | ufo-data ufo-nas ufo-weights ufo-kernels                     | no
ufo-eval    | ufo-data                                                     | no
ufo-model   | ufo-nas ufo-onnx ufo-weights ufo-kernels                     | yes
ufo-train   | ufo-data ufo-nas ufo-onnx ufo-weights ufo-kernels ufo-eval ufo-model ufo-runtime | yes
ufo-serve   | ufo-data ufo-nas ufo-weights ufo-kernels ufo-runtime         | no
ufo         | ufo-data ufo-nas ufo-onnx ufo-weights ufo-kernels ufo-eval ufo-model ufo-train ufo-runtime ufo-serve | yes
'

links() { cargo tree --locked --package "$1" --edges normal --prefix none --format '{p}' | awk '{print $1}' | sort -u; }

failed=0
refuse() { # crate, what it links, why
  printf '%s links %s: %s\n' "$1" "$2" "$3" >&2
  cargo tree --locked --package "$1" --edges normal --invert "$2" >&2 || true
  failed=1
}

checked=0
while IFS='|' read -r crate own tensors; do
  crate=${crate// /} tensors=${tensors// /}
  [[ -n $crate && -d crates/$crate ]] || continue
  checked=$((checked + 1))
  linked_crates=$(links "$crate")
  while read -r linked; do
    case $linked in
      "$crate") ;;
      ufo | ufo-*) [[ " $own " == *" $linked "* ]] || refuse "$crate" "$linked" "its row allows: ${own:-no own crate}" ;;
      burn | burn-* | candle-core | tch) [[ $tensors == yes ]] || refuse "$crate" "$linked" 'it must be free of tensor libraries' ;;
    esac
  done <<<"$linked_crates"
done <<<"$table"

for folder in crates/*/; do
  name=$(basename "$folder")
  grep -q "^$name *|" <<<"$table" || { echo "crates/$name has no row in $0" >&2; failed=1; }
done
((failed == 0)) && echo "$checked crates link only what they may"
exit "$failed"
