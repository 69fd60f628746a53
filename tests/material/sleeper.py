"""The one program that all test images run: static, sleeps until SIGTERM."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from tests.servers.assets import Missing, cache_root, go_arch, unpacked_env

C_SOURCE = r"""
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void leave(int number) { (void)number; _exit(0); }

int main(int count, char **words) {
    const char *slash = strrchr(words[0], '/');
    if (!strcmp(slash ? slash + 1 : words[0], "sh")) return 0;
    for (int i = 1; i < count; i++)
        if (!strncmp(words[i], "--exit=", 7)) return atoi(words[i] + 7);
    signal(SIGTERM, leave);
    signal(SIGINT, leave);
    for (;;) pause();
}
"""

GO_SOURCE = r"""
package main

import (
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

func main() {
	if filepath.Base(os.Args[0]) == "sh" {
		return
	}
	for _, word := range os.Args[1:] {
		if strings.HasPrefix(word, "--exit=") {
			status, _ := strconv.Atoi(word[7:])
			os.Exit(status)
		}
	}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM, syscall.SIGINT)
	<-ended
}
"""


@cache
def sleeper() -> bytes:
    """Return the program, compiled once per machine and kept in the cache.

    Raises:
        Missing: neither a C compiler that links statically nor Go is here.
    """
    mark = hashlib.sha256((C_SOURCE + GO_SOURCE).encode()).hexdigest()[:12]
    kept = cache_root() / f"sleeper-{mark}"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
            _compile(Path(folder)).rename(kept)
    return kept.read_bytes()


def _compile(folder: Path) -> Path:
    built = folder / "sleep"
    (folder / "sleep.c").write_text(C_SOURCE)
    (folder / "sleep.go").write_text(GO_SOURCE)
    env = {**os.environ, **unpacked_env(), "CGO_ENABLED": "0", "GOCACHE": str(folder / "go"), "GO111MODULE": "off"}
    unpacked_go = cache_root() / "root/usr/lib/go-1.19"
    if unpacked_go.exists() and not shutil.which("go"):
        env["GOROOT"] = str(unpacked_go)
    env |= {"GOOS": "linux", "GOARCH": go_arch()}
    tries = (
        ["gcc", "-static", "-Os", "-s", "-o", str(built), str(folder / "sleep.c")],
        ["go", "build", "-ldflags=-s -w", "-o", str(built), str(folder / "sleep.go")],
    )
    for words in tries:
        if program := shutil.which(words[0], path=env["PATH"]):
            done = subprocess.run([program, *words[1:]], check=False, capture_output=True, env=env)
            if done.returncode == 0 and built.exists():
                return built
    raise Missing("a program for the test images: neither gcc with a static C library nor go compiled one")
