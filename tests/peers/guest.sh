#!/usr/bin/env bash
#
# Builds what the test guests boot from into the cache's `guest` directory:
#
#   vmlinuz       Debian's cloud kernel, for QEMU (virtio_blk over PCI)
#   rootfs.cpio   the initial file system, for QEMU and for User-Mode Linux:
#                 busybox, e2fsprogs, util-linux's block tools, fio, both
#                 kernels' virtio modules, and an /init that runs /scenario
#                 and powers off
#
# The scenario itself comes in a second archive that run-guest and run-uml
# append to this one at run time, so that this one stays cached. Nothing is
# installed on the host.
#
# usage: guest.sh

set -euo pipefail
. "$(dirname "$0")/lib.sh"

# Host programs copied into the guest, with the libraries they load. The shell
# is dash because busybox's prefers its applets to the programs given here.
programs=(
    /bin/dash
    /usr/sbin/mke2fs /usr/sbin/e2fsck /usr/sbin/resize2fs /usr/sbin/tune2fs
    /usr/sbin/blkdiscard /usr/sbin/fstrim /usr/sbin/blockdev
    /usr/bin/fio
)

# In the order they have to be loaded.
pci_modules=(
    drivers/virtio/virtio_ring.ko
    drivers/virtio/virtio.ko
    drivers/virtio/virtio_pci_modern_dev.ko
    drivers/virtio/virtio_pci_legacy_dev.ko
    drivers/virtio/virtio_pci.ko
    drivers/block/virtio_blk.ko
)
uml_modules=(
    drivers/block/virtio_blk.ko
)

# The archive records root as the owner and no times, whoever builds it.
pack() { # DIRECTORY
    (cd "$1" && find . -print0 | LC_ALL=C sort -z |
        cpio --quiet --null --create --format=newc --owner=0:0 --reproducible)
}

copy_modules() { # FROM TO MODULE...
    local from=$1 to=$2 number=10 module
    shift 2
    mkdir -p "$to"
    for module; do
        cp "$from/kernel/$module" "$to/$number-${module##*/}"
        number=$((number + 1))
    done
}

copy_programs() { # ROOT
    local program library
    for program in "${programs[@]}"; do
        [[ -x $program ]] || die "$program is missing: run packages.sh first"
        install -D -m 755 "$program" "$1/bin/${program##*/}"
        # Libraries keep the directory the loader will search; the ones that
        # only a RUNPATH reaches are put beside the others.
        ldd "$program" | grep -o '/[^ ]*' | while read -r library; do
            if [[ $library == /lib64/* ]]; then
                install -D -m 755 "$library" "$1$library"
            else
                install -D -m 644 "$library" "$1/lib/x86_64-linux-gnu/${library##*/}"
            fi
        done
    done
}

kernel_package() {
    apt-cache depends linux-image-cloud-amd64 2>/dev/null |
        awk '$1 == "Depends:" && $2 ~ /^linux-image-[0-9]/ { print $2; exit }'
}

fetch_kernel() { # TEMP
    local package
    package=$(kernel_package)
    if [[ -z $package ]]; then
        ((EUID == 0)) || die "apt knows no linux-image-cloud-amd64: run apt-get update"
        apt-get update -q >&2
        package=$(kernel_package)
    fi
    [[ -n $package ]] || die "apt knows no linux-image-cloud-amd64"
    mkdir "$1/kernel"
    say "fetching $package"
    # As root, apt drops privileges for a download unless the directory is
    # out of its user's reach; then it only warns.
    (cd "$1" && apt-get -q download "$package") >"$1/fetch.log" 2>&1 || {
        cat "$1/fetch.log" >&2
        die "cannot fetch $package (stale package lists? apt-get update)"
    }
    dpkg-deb -x "$1/$package"_*.deb "$1/kernel"
}

build() {
    if is_current guest "$key"; then
        return
    fi
    say "building the test guest in $PEERS_CACHE/guest"
    local temp=$PEERS_CACHE/.guest.new root
    rm -rf "$temp"
    mkdir -p "$temp/out"
    fetch_kernel "$temp"
    cp "$temp"/kernel/boot/vmlinuz-* "$temp/out/vmlinuz"

    root=$temp/root
    mkdir -p "$root"/{bin,dev,etc,lib,lib64,mnt,proc,run,sys,tmp,modules}
    ln -s bin "$root/sbin"
    cp /bin/busybox "$root/bin/busybox"
    local applet
    for applet in $(/bin/busybox --list); do
        [[ $applet == busybox ]] || ln -s busybox "$root/bin/$applet"
    done
    # Replace the applets that the real tools stand for.
    for applet in sh mke2fs blkdiscard fstrim blockdev; do
        rm -f "$root/bin/$applet"
    done
    copy_programs "$root"
    ln -s dash "$root/bin/sh"
    ln -s mke2fs "$root/bin/mkfs.ext4"
    ln -s e2fsck "$root/bin/fsck.ext4"
    ln -sf /proc/mounts "$root/etc/mtab"
    cp /etc/mke2fs.conf "$root/etc/"
    echo 'root:x:0:0:root:/:/bin/sh' >"$root/etc/passwd"
    copy_modules "$(echo "$temp"/kernel/lib/modules/*)" "$root/modules/pci" "${pci_modules[@]}"
    local uml
    uml=$(find /usr/lib/uml/modules -mindepth 1 -maxdepth 1 -type d 2>/dev/null | sort -V | tail -n 1)
    [[ -n $uml ]] || die "user-mode-linux is missing: run packages.sh first"
    copy_modules "$uml" "$root/modules/uml" "${uml_modules[@]}"
    install -m 755 "$PEERS_DIR/guest-init" "$root/init"

    pack "$root" >"$temp/out/rootfs.cpio"
    publish guest "$temp/out" "$key"
    rm -rf "$temp"
}

# What goes into the archive: this recipe and the versions of its sources.
key=$(
    cat "$PEERS_DIR/guest.sh" "$PEERS_DIR/guest-init"
    dpkg-query -W -f '${Package} ${Version}\n' busybox-static dash e2fsprogs util-linux fio user-mode-linux 2>/dev/null || true
)
key=$(sha256sum <<<"$key")

with_lock guest build
