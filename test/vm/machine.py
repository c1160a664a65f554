# SPDX-License-Identifier: Apache-2.0
"""The virtual machine: qemu without acceleration (-accel tcg) with Debian's cloud kernel, and what it boots from.

Two kinds of it: an initramfs alone, up in two seconds (test_vm.py), and Debian's root file system (run.py), which is
three disks: the root, whose changes are thrown away; the tree under test, a tar; and a tar of results.
"""
import os
import pathlib
import shutil
import subprocess
import tarfile

HERE = pathlib.Path(__file__).resolve().parent
TOP = HERE.parents[1]
BIN = pathlib.Path(os.environ.get("BELAY_BIN_DIR", TOP / "out/bin"))
VM = pathlib.Path(os.environ.get("BELAY_VM_DIR", TOP / "out/vm"))
# In the order of loading; a kernel may have some of them built in.
DISK_MODULES = ("virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_blk "
                "crc16 crc32c_generic mbcache jbd2 ext4").split()
RESULTS_SIZE = 32 << 20
TREE = ("test/e2e", "test/vm", "test/bench", "proto")  # what the guest gets of the source tree

# On a busy host the kernel's check of its timer, ten ticks in a given time, fails, and it panics.
NO_TIMER_CHECK = "no_timer_check"

# Two threads of one core: core scheduling needs SMT.
QEMU = ["qemu-system-x86_64", "-accel", "tcg", "-cpu", "max,+topoext", "-smp", "2,cores=1,threads=2", "-nographic",
        "-no-reboot", "-nodefaults"]


def kernel():
    return next(VM.glob("boot/vmlinuz-*"), None)


def missing():
    """Why there can be no machine at all, in words; None if there can."""
    if not shutil.which("qemu-system-x86_64"):
        return "no qemu: ./dev test-vm installs it"
    return None if kernel() else "no kernel for the virtual machine: ./dev test-vm fetches it"


def pack_initramfs(root, path):
    names = "\n".join(str(p.relative_to(root)) for p in sorted(root.rglob("*")))
    with open(path, "wb") as image:
        subprocess.run(["busybox", "cpio", "-o", "-H", "newc"], input=names.encode(), stdout=image, cwd=root,
                       check=True, stderr=subprocess.DEVNULL)


def add_busybox(folder, applets):
    folder.mkdir(parents=True)
    shutil.copy("/bin/busybox", folder)
    for applet in applets:
        (folder / applet).symlink_to("busybox")


def command(initramfs, append, memory, *more):
    return [*QEMU, "-m", str(memory), "-kernel", str(kernel()), "-initrd", str(initramfs), "-append",
            f"console=ttyS0 panic=-1 {NO_TIMER_CHECK} {append}", *more]


class Debian:
    """The machine with Debian's root file system. work: an empty folder for its other disks."""

    def __init__(self, work):
        self.work = work
        self.results = work / "results.tar"

    def command(self, systemd, append="", memory=2048, serial="stdio"):
        init = "/lib/systemd/systemd" if systemd else "/belay/test/vm/run.sh"
        drives = [f"file={VM}/root.ext4,snapshot=on", f"file={self.work}/tree.tar,readonly=on", f"file={self.results}"]
        return command(self.work / "initramfs",
                       f"quiet rdinit=/init belay.init={init} apparmor=1 security=apparmor "
                       f"systemd.unit=belay-tests.target systemd.show_status=0 systemd.log_target=null {append}", memory,
                       "-serial", serial, *(word for d in drives for word in ("-drive", f"if=virtio,format=raw,{d}")))

    def prepare(self, files):
        """files: {name: text} for /belay, beside the tree under test."""
        self._pack_init()
        self._pack_tree(files)
        with open(self.results, "wb") as disk:
            disk.truncate(RESULTS_SIZE)

    def _pack_init(self):
        root = self.work / "init-root"
        add_busybox(root / "bin", "sh mount umount mkdir insmod sed sleep cp tar switch_root poweroff".split())
        for name in ("proc", "dev", "modules"):
            (root / name).mkdir()
        for i, name in enumerate(DISK_MODULES):
            for path in VM.glob(f"lib/modules/*/kernel/**/{name}.ko"):
                shutil.copy(path, root / f"modules/{i:02}-{name}.ko")
        shutil.copy(HERE / "init.sh", root / "init")
        pack_initramfs(root, self.work / "initramfs")

    def _pack_tree(self, files):
        with tarfile.open(self.work / "tree.tar", "w") as tar:
            for name in TREE:
                tar.add(TOP / name, name, filter=lambda info: None if "__pycache__" in info.name else info)
            tar.add(BIN, "out/bin")
            for name, text in files.items():
                path = self.work / name
                path.write_text(text)
                tar.add(path, name)
        size = (self.work / "tree.tar").stat().st_size
        os.truncate(self.work / "tree.tar", -(-size // 4096) * 4096)

    def read_result(self, name):
        """A file of the guest's /belay/results; None if it has left none."""
        try:
            with tarfile.open(self.results) as tar:
                return tar.extractfile(f"./{name}").read()
        except (tarfile.TarError, KeyError):
            return None
