# SPDX-License-Identifier: Apache-2.0
"""belay, called as callers of runc call it."""
import json
import os
import subprocess

import host


class Oci:
    def __init__(self, lab):
        self.lab = lab
        self.program = lab.shim.parent / "belay"
        self.root = lab.dir / "oci"
        self.env = dict(os.environ, **dict([lab.token_variable.split("=", 1)]))
        self.ids = []

    def container(self, *args, terminal=False):
        c = self.lab.container(*args, ident=f"{self.lab.namespace}-c{len(self.ids)}")
        self.lab.containers.remove(c)
        c.config["process"]["terminal"] = terminal
        self.ids.append(c.id)
        return c

    def __call__(self, *args, status=0, **more):
        done = subprocess.run([self.program, "--root", self.root, *map(str, args)], timeout=host.PATIENCE * host.SLOWNESS, env=self.env,
                              cwd=self.lab.dir, **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE,
                                                   "stderr": subprocess.PIPE, **more})
        assert done.returncode in (status if isinstance(status, tuple) else (status,)), (done.returncode, done.stdout, done.stderr)
        return done

    def state(self, ident):
        return json.loads(self("state", ident).stdout)

    def loose(self, *args, stdout=subprocess.DEVNULL, **more):
        """For what leaves processes behind that inherit the streams: stderr is a file."""
        path = self.lab.new_path("stderr")
        with open(path, "wb") as err:
            done = self(*args, stdout=stdout, stderr=err, **more)
        done.stderr = path.read_bytes()
        return done

    def create(self, c, *flags, output=os.devnull, **more):
        c.bundle.write()
        with open(output, "ab") as out:
            return self.loose("create", "--bundle", c.bundle.path, *flags, c.id, stdout=out, **more)

    def wait_stopped(self, ident):
        host.wait_for(lambda: self.state(ident)["status"] == "stopped", f"{ident} to stop")
