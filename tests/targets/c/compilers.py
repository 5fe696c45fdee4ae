"""Compilers of C and what runs their programs; a test names the one that is absent, and in CI none may be."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.installed import need

STRICT = ("-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Wsign-conversion", "-Werror", "-pedantic")
SANITIZERS = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


@dataclass(frozen=True)
class Compiler:
    """A compiler with its options, and the command that runs its programs.

    Attributes:
        name: How tests call it.
        command: Its command, and options besides the strict ones.
        runner: What stands before a program.
        size: The command that measures an object.
        startup: A further source of programs: what the processor reads when it starts.
    """

    name: str
    command: tuple[str, ...]
    runner: tuple[str, ...] = ()
    size: str = "size"
    startup: str = ""

    def need(self) -> None:
        """Skips a test where it is not installed; in CI the test fails."""
        need(self.command[0], self.size, *self.runner[:1], why=self.name)

    def program(self, sources: Sequence[Path], output: Path, *options: str) -> Path:
        """Compiles and links a program; warnings are errors."""
        further: list[str] = []
        if self.startup:
            output.with_suffix(".startup.c").write_text(self.startup)
            further.append(str(output.with_suffix(".startup.c")))
        run([*self.command, *STRICT, *options, *map(str, sources), *further, "-o", str(output)])
        return output

    def output(self, program: Path) -> str:
        """What a program prints; the test fails if it does."""
        return run([*self.runner, str(program)])

    def sizes(self, source: Path, output: Path, *options: str) -> tuple[int, int]:
        """Bytes of code and constants, and of memory, of a compiled source."""
        run([*self.command, *STRICT, *options, "-c", str(source), "-o", str(output)])
        text, data, bss = map(int, run([self.size, str(output)]).splitlines()[1].split()[:3])
        return text + data, data + bss


_VECTORS = "-Wl,--section-start=.vectors=0"  # where the processor looks for its stack and its first instruction

GCC = Compiler("gcc", ("gcc", "-O1", *SANITIZERS))
CLANG = Compiler("clang", ("clang", "-O1", *SANITIZERS))
ARM = Compiler("gcc for Arm", ("arm-linux-gnueabihf-gcc", "-Os", "-static"), ("qemu-arm",))
RISCV = Compiler("gcc for RISC-V", ("riscv64-linux-gnu-gcc", "-Os", "-static"), ("qemu-riscv64",))
CORTEX = Compiler(
    "gcc for Cortex-M",
    ("arm-none-eabi-gcc", "-Os", "-mcpu=cortex-m3", "-mthumb", "--specs=rdimon.specs", _VECTORS),
    ("qemu-system-arm", "-M", "mps2-an385", "-nographic", "-semihosting-config", "enable=on,target=native", "-kernel"),
    "arm-none-eabi-size",
    "extern void _start(void);\n"
    'void (*const vectors[])(void) __attribute__((section(".vectors"), used)) = {\n'
    "    (void (*)(void))0x20400000u, _start\n};\n",
)
COMPILERS = (GCC, CLANG, ARM, RISCV, CORTEX)


def run(command: Sequence[str]) -> str:
    """What a command prints; the test fails with its errors if it does."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode:
        pytest.fail(f"{' '.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return done.stdout
