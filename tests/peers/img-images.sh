# The images that img-differences works on; sourced in an empty directory, with pimg, pio and patch defined.
# shellcheck shell=bash
set -e
q() { pimg create -q "$@"; }
w() { local file=$1; shift; local args=(); for c in "$@"; do args+=(-c "$c"); done; pio -f qcow2 "${args[@]}" "$file" >/dev/null; }

q -f raw raw.img 1M
pio -f raw -c 'write -P 1 0 64k' -c 'write -P 2 512k 4k' raw.img >/dev/null
q -f raw big.img 3M
pio -f raw -c 'write -P 1 0 64k' -c 'write -P 2 512k 4k' big.img >/dev/null
q -f raw bigdata.img 3M
pio -f raw -c 'write -P 1 0 64k' -c 'write -P 2 512k 4k' -c 'write -P 3 2M 64k' bigdata.img >/dev/null
head -c 100000 /dev/zero | tr '\0' 'x' >odd.img
: >zero.img
printf 'this is no image' >text.img

q -f qcow2 base.qcow2 4M
w base.qcow2 'write -P 1 0 1M' 'write -P 2 2M 512k'
q -f qcow2 -b base.qcow2 -F qcow2 mid.qcow2
w mid.qcow2 'write -P 3 512k 256k' 'write -z 2M 128k' 'write -P 9 3M 64k'
q -f qcow2 -b mid.qcow2 -F qcow2 top.qcow2
w top.qcow2 'write -P 4 64k 64k' 'write -z 3M 64k' 'write -P 5 3584k 64k'
q -f qcow2 base2.qcow2 4M
w base2.qcow2 'write -P 1 0 512k' 'write -P 7 2M 512k'
q -f qcow2 -b base.qcow2 -F qcow2 longer.qcow2 6M
w longer.qcow2 'write -P 6 5M 128k' 'write -P 6 1M 64k'
q -f qcow2 -b base.qcow2 -F qcow2 shorter.qcow2 1536k
w shorter.qcow2 'write -P 6 1M 64k'
q -f qcow2 -b raw.img -F raw onraw.qcow2
w onraw.qcow2 'write -P 8 128k 64k'
q -f qcow2 -b raw.img -F raw nothing.qcow2
q -f qcow2 empty.qcow2 4M
q -f qcow2 -o compat=0.10 v2.qcow2 4M
w v2.qcow2 'write -P 1 0 128k'
q -f qcow2 -o compat=0.10 -b base.qcow2 -F qcow2 v2top.qcow2
w v2top.qcow2 'write -P 5 1M 128k'
pimg convert -c -f qcow2 -O qcow2 base.qcow2 packed.qcow2
pimg convert -c -f qcow2 -O qcow2 -o compression_type=zstd base.qcow2 zstd.qcow2
q -f qcow2 -o cluster_size=4k,refcount_bits=1 small.qcow2 4M
w small.qcow2 'write -P 1 0 100k' 'write -P 2 1M 8k'
q -f qcow2 -o extended_l2=on,cluster_size=128k sub.qcow2 4M
w sub.qcow2 'write -P 1 0 20k' 'write -P 2 1M 4k'
q -f qcow2 -o lazy_refcounts=on lazy.qcow2 4M
w lazy.qcow2 'write -P 1 0 128k'
q -f qcow2 -o preallocation=metadata meta.qcow2 4M
q -f qcow2 snap.qcow2 4M
w snap.qcow2 'write -P 1 0 128k'
pimg snapshot -c first snap.qcow2
w snap.qcow2 'write -P 2 64k 128k'
q -f qcow2 bits.qcow2 4M
pimg bitmap --add bits.qcow2 b0
w bits.qcow2 'write -P 1 0 128k'
pimg bitmap --add -g 128k bits.qcow2 b1
pimg bitmap --disable bits.qcow2 b1

# Broken ones.
q -f qcow2 -u -b missing.qcow2 -F qcow2 orphan.qcow2 4M
q -f qcow2 -u -b orphan.qcow2 -F qcow2 loop.qcow2 4M
pimg rebase -u -b loop.qcow2 -F qcow2 loop.qcow2
cp base.qcow2 leak.qcow2
w leak.qcow2 'write -P 1 3M 192k'
off=$(pimg map --output=json leak.qcow2 | sed -n 's/.*"start": 3145728.*"offset": \([0-9]*\).*/\1/p')
l2=$((0x40000))
patch leak.qcow2 $((l2 + 48 * 8)) '\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0'
cp base.qcow2 corrupt.qcow2
patch corrupt.qcow2 $((0x20000 + 10)) '\0\0\0\0'
cp base.qcow2 unaligned.qcow2
patch unaligned.qcow2 $((l2 + 7)) '\x01'
cp base.qcow2 marked.qcow2
patch marked.qcow2 79 '\x02'
cp base.qcow2 dirty.qcow2
patch dirty.qcow2 79 '\x01'
cp base.qcow2 feature.qcow2
patch feature.qcow2 76 '\x80'
head -c 100000 base.qcow2 >cut.qcow2
cp base.qcow2 noheader.qcow2
patch noheader.qcow2 23 '\x1f'
