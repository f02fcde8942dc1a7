#!/usr/bin/env node
// Runs the firmware on an emulated board, on a cable made of UDP. Usage: `node emulate.js --help`.

import { parseArgs } from 'node:util';
import { bench } from './src/bench.js';
import { bridge } from './src/bridge.js';
import { makeCard, openCard } from './src/card.js';
import { live } from './src/live.js';

const HELP = `Usage: node emulate.js FIRMWARE --bootrom FILE [OPTION...]

Runs the firmware (an ELF file for the RP2040) on an emulated W5500-EVB-Pico with a microSD card, slower than the chip.

  --bootrom FILE    load the chip's boot ROM, which the firmware calls: see bootrom.py; required
  --archive FILE    drag this UF2 of 'pinetboot pack --firmware FIRMWARE' to the board [default: the firmware alone]
  --card FILE       plug in a card with this image [default: no card]
  --card-from TREE  make the image of --card from these files first, by mtools [default: use the image unchanged]
  --port PORT       connect the cable to this UDP port on 127.0.0.1 [default: any free port]
  -v, --verbose     print the warnings of rp2040js [default: no warnings]

Examples:
  node emulate.js rp2040_w5500 --bootrom bootrom.bin --archive boot.uf2 --port 7001
  qemu-system-aarch64 -M virt .. -netdev dgram,id=n,local.type=inet,local.host=127.0.0.1,local.port=7002,\\
      remote.type=inet,remote.host=127.0.0.1,remote.port=7001 -device virtio-net-pci,netdev=n
  socat TUN:10.55.0.2/24,tun-type=tap,tun-name=tap0,iff-no-pi,iff-up UDP4:127.0.0.1:7001`;

const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
        bootrom: { type: 'string' },
        archive: { type: 'string' },
        card: { type: 'string' },
        'card-from': { type: 'string' },
        port: { type: 'string' },
        verbose: { type: 'boolean', short: 'v' },
        help: { type: 'boolean', short: 'h' },
    },
});
if (values.help || positionals.length !== 1 || !values.bootrom) {
    console.log(HELP);
    process.exit(values.help ? 0 : 2);
}
if (values['card-from']) makeCard(values.card, values['card-from']);
const { board, chip } = bench({
    firmware: positionals[0],
    bootrom: values.bootrom,
    archive: values.archive,
    card: values.card && openCard(values.card),
    warn: values.verbose ? console.error : undefined,
});
const socket = await bridge(chip, Number(values.port ?? 0));
const stop = new AbortController();
process.once('SIGINT', () => stop.abort()).once('SIGTERM', () => stop.abort());
console.log(`ready: its cable is UDP port ${socket.address().port}`);
await live(board, socket, stop.signal);
socket.close();
const { received, sent, full } = chip.counts;
console.log(`${(board.now / 1e9).toFixed(3)} s of its time; ${received} frames in, ${sent} out, ${full} lost in a full buffer`);
