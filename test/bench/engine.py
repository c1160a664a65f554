# SPDX-License-Identifier: Apache-2.0
"""The engine alone: Create and Start through belay's shim beside `runc run` and `crun run` of the same bundle, and beside
the floor (floor.c): a program that makes the same container with the same system calls and does nothing else.

belay's shim is started before the clock; its share are the two calls. What counts is the program's first instruction.
"""
import json
import pathlib
import re
import shutil
import statistics
import subprocess
import sys

import bundle

BINDS = 40
# Docker's default profile allows all but some sixty calls, on three architectures: the same in kind and size.
DENIED = set("""acct add_key bpf clone3 create_module delete_module finit_module fsconfig fsmount fsopen fspick
    get_kernel_syms get_mempolicy init_module ioperm iopl kcmp kexec_file_load kexec_load keyctl lookup_dcookie mbind mount
    mount_setattr move_mount move_pages name_to_handle_at nfsservctl open_by_handle_at open_tree perf_event_open
    personality pivot_root process_vm_readv process_vm_writev ptrace query_module quotactl quotactl_fd reboot request_key
    set_mempolicy setns settimeofday stime swapoff swapon sysfs syslog _sysctl umount umount2 unshare uselib userfaultfd
    ustat vm86 vm86old vserver""".split())

CASES = [  # key, label, namespaces beyond pid, ipc, uts and mount
    ("plain", "host's network", []),
    ("net", "network namespace", ["network"]),
    ("user", "network and user namespace", ["network", "user"]),
    ("seccomp", "network namespace, large seccomp profile", ["network"]),
    ("mounts", f"network namespace, {BINDS} binds", ["network"]),
]
RUNNERS = [("floor", "floor"), ("belay", "belay"), ("crun", "crun run"), ("runc", "runc run")]
TARGET = 1.5
COLORS = {"floor": "#9a9a9a", "belay": "#1a7f5a", "crun": "#c9c9c9", "runc": "#c9c9c9"}


def allowed_calls():
    names = set()
    for header in pathlib.Path("/usr/include").glob("*/asm/unistd_*.h"):
        names |= set(re.findall(r"#define __NR_(\w+)", header.read_text()))
    return sorted(names - DENIED)


def seccomp(names):
    def only(name, index, value, op, value_two=0):
        return {"names": [name], "action": "SCMP_ACT_ALLOW",
                "args": [{"index": index, "value": value, "valueTwo": value_two, "op": op}]}
    return {
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1,
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": [{"names": [n for n in names if n != "clone"], "action": "SCMP_ACT_ALLOW"}] +
                    [only("personality", 0, value, "SCMP_CMP_EQ") for value in (0, 8, 0x20000, 0x20008, 0xffffffff)] +
                    [only("clone", 0, 0x7e020000, "SCMP_CMP_MASKED_EQ")] +
                    [{"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}],
    }


class Bench:
    def __init__(self, tools, bin_dir, work):
        self.tools = pathlib.Path(tools)
        self.shim = f"{bin_dir}/containerd-shim-belay-v2"
        self.work = pathlib.Path(work)
        self.n = 0
        self.names = allowed_calls()
        (self.work / "names").write_text("\n".join(self.names))
        (self.work / "shared").mkdir()
        self.work.chmod(0o711)  # a user namespace's root walks through

    def make(self, case, namespaces, container_id):
        where = bundle.make(self.work, self.tools / "payload", container_id, ["stamp"])
        config = json.loads((where / "config.json").read_text())
        linux = config["linux"]
        linux["namespaces"] = [{"type": t} for t in ["pid", "ipc", "uts", "mount"] + namespaces]
        if case == "user":
            linux["uidMappings"] = linux["gidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 65536}]
        if case == "seccomp":
            linux["seccomp"] = seccomp(self.names)
        if case == "mounts":
            for i in range(BINDS):
                (where / "rootfs/m" / str(i)).mkdir(parents=True)
                config["mounts"].append({"destination": f"/m/{i}", "type": "bind", "source": str(self.work / "shared"),
                                         "options": ["rbind", "ro", "nosuid", "nodev"]})
        (where / "config.json").write_text(json.dumps(config))
        return where

    def command(self, who, case, namespaces, where, container_id):
        bench = str(self.tools / "bench")
        runtime = [who, "--root", str(self.work / who), "run", "--bundle", str(where), container_id]
        if who == "belay":
            return [bench, "life", self.shim, str(where), container_id]
        if who == "runc":
            return [bench, "command", *runtime]
        if who == "crun":
            # crun 1.8 refuses hybrid cgroups with a controller on the v2 side; a tmpfs there hides it from crun alone.
            hide = "[ ! -d /sys/fs/cgroup/unified ] || mount -t tmpfs none /sys/fs/cgroup/unified"
            return ["unshare", "-m", "--propagation", "private", "sh", "-c", f'{hide}; exec "$@"', "sh", bench, "command",
                    *runtime]
        flags = ["-n"] if "network" in namespaces else []
        flags += ["-u"] if case == "user" else []
        flags += ["-s", str(self.work / "names")] if case == "seccomp" else []
        flags += ["-m", str(self.work / "shared")] if case == "mounts" else []
        return [str(self.tools / "floor"), *flags, str(where / "rootfs"), container_id]

    def once(self, who, case, namespaces):
        self.n += 1
        container_id = f"e{self.n}"
        where = self.make(case, namespaces, container_id)
        try:
            done = subprocess.run(self.command(who, case, namespaces, where, container_id), capture_output=True, text=True,
                                  timeout=60, check=False)
            if done.returncode != 0:
                sys.exit(f"{who}, {case}: {done.stdout}{done.stderr}")
            return json.loads(done.stdout)
        finally:
            shutil.rmtree(where.parent, ignore_errors=True)  # a shim that ends takes files away, too


def runners():
    return [who for who, _ in RUNNERS if who in ("floor", "belay") or shutil.which(who)]


def measure(tools, bin_dir, work, rounds):
    """{case: {runner: {"program": us, "end": us}}}, medians of interleaved rounds."""
    bench = Bench(tools, bin_dir, work)
    samples = {case: {who: [] for who in runners()} for case, _, _ in CASES}
    for i in range(rounds + 2):
        for case, _, namespaces in CASES:
            for who in runners():
                sample = bench.once(who, case, namespaces)
                if i >= 2:  # the first two fill caches
                    samples[case][who].append(sample)
    return {case: {who: {key: statistics.median(s[key] for s in taken) for key in ("program", "end")}
                   | {"min": min(s["program"] for s in taken)} for who, taken in by.items()} for case, by in samples.items()}


def markdown(result):
    names = dict(RUNNERS)
    lines = ["| ms to the program's first instruction | floor | belay | times the floor | crun run | runc run | target |",
             "|---|--:|--:|--:|--:|--:|---|"]
    for case, label, _ in CASES:
        by = result[case]
        ratio = by["belay"]["program"] / by["floor"]["program"]

        def shown(who, by=by):
            return f"{by[who]['program'] / 1000:.2f}" if who in by else "-"
        lines.append(f"| {label} | {shown('floor')} | {shown('belay')} | {ratio:.2f} | {shown('crun')} | {shown('runc')} | "
                     f"{'met' if ratio <= TARGET else 'MISSED'} ({TARGET}) |")
    assert set(names) >= set(by)
    return "\n".join(lines)


def draw(result):
    """Bars in milliseconds; what would leave the picture is cut and says how long it is."""
    left, width, bar, gap = 270, 760, 13, 20
    limit = max(by["belay"]["program"] for by in result.values()) * 3
    scale = (width - left - 90) / limit
    y = 44
    parts = []
    for case, label, _ in CASES:
        parts.append(f'<text x="{left - 12}" y="{y + 26}" text-anchor="end">{label}</text>')
        for who, name in RUNNERS:
            if who not in result[case]:
                continue
            value = result[case][who]["program"]
            length = min(value, limit) * scale
            weight = ' font-weight="bold"' if who == "belay" else ' fill="#666"'
            parts += [f'<rect x="{left}" y="{y}" width="{length:.1f}" height="{bar}" fill="{COLORS[who]}"/>',
                      f'<text x="{left + length + 6:.1f}" y="{y + 11}" font-size="11"{weight}>'
                      f'{name} {value / 1000:.2f}{" (cut)" if value > limit else ""}</text>']
            y += bar + 2
        y += gap
    head = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {y}" width="{width}" height="{y}" '
            'font-family="sans-serif" font-size="13">', f'<rect width="{width}" height="{y}" fill="#fff"/>',
            '<text x="16" y="24" font-size="15" font-weight="bold">From Create to the program\'s first instruction, '
            'ms, shorter is better</text>']
    return "\n".join(head + parts + ["</svg>"]) + "\n"
