// An initramfs for arm64: init.s, and as much ballast as wanted.

import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** A cpio archive in the format "newc" (Linux, Documentation/driver-api/early-userspace/buffer-format.rst). */
export function initramfs(scratch, ballast) {
    const files = [
        ['dev', 0o040755, Buffer.alloc(0)],
        ['dev/console', 0o020600, Buffer.alloc(0), 5, 1],
        ['init', 0o100755, init(scratch)],
        ['ballast', 0o100644, ballast],
        ['TRAILER!!!', 0, Buffer.alloc(0)],
    ];
    const align = (bytes) => Buffer.concat([bytes, Buffer.alloc(-bytes.length & 3)]);
    const entries = files.map(([name, mode, content, major = 0, minor = 0], index) => {
        const fields = [index + 1, mode, 0, 0, 1, 0, content.length, 0, 0, major, minor, name.length + 1, 0];
        const header = `070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}${name}\0`;
        return Buffer.concat([align(Buffer.from(header, 'latin1')), align(content)]);
    });
    return Buffer.concat(entries);
}

function init(scratch) {
    const output = join(scratch, 'init');
    const source = join(import.meta.dirname, 'init.s');
    execFileSync('clang', ['--target=aarch64-linux-gnu', '-nostdlib', '-static', '-fuse-ld=lld', '-o', output, source]);
    return readFileSync(output);
}
