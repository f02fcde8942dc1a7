// A microSD card in SPI mode, as a host sees it (SD Physical Layer Simplified Specification, 7): SDHC, or SDSC of at most 2 GB.
//
// Modelled: the way from power on to ready (CMD0, 8, 55, ACMD41, 58), CRC on commands and data (CMD59), CSD and CID, reading
// single blocks and many (CMD17, 18, 12), writing single ones (CMD24), status (CMD13), the latency of the
// first and of each following block, pauses, removal and insertion, the clocks before CMD0 (6.4.1). The host has to keep the card
// selected for a whole transaction (7.2): a command, its response and its data are lost when the select line rises within.
// Not modelled: cards before version 2.00, erasing, locking, CMD25, and the time that a write takes.

export class MicroSd {
    /**
     * @param {{ now: number }} time the virtual clock
     * @param {{ length: number, read: (offset: number, length: number) => Uint8Array, write?: Function }} image
     */
    constructor(time, image, { start = 1_000_000, firstBlock = 300_000, nextBlock = 50_000, sdsc = false } = {}) {
        this.time = time;
        this.image = image;
        /** Nanoseconds from the request to start until ready, from command to data, and from block to block. */
        this.latency = { start, firstBlock, nextBlock };
        this.inserted = true;
        this.isSdsc = sdsc;
        this.counts = { commands: 0, blocks: 0, crcErrors: 0, aborted: 0 };
        /** Nanoseconds that a card pauses before a block, beside its latency: up to 0.1 s are allowed (4.6.2.1). Called with the block's number. */
        this.pauses = () => 0;
        /** Whether a block of data is disturbed on its way to the host: called with the block's number. */
        this.disturbs = () => false;
        this.insertedAnew();
    }

    insertedAnew() {
        this.clocks = 0; // bytes of the bus while the card was not selected
        this.powerOn();
    }

    powerOn() {
        this.idle = true;
        this.readyAt = null; // once the host asked the card to start
        this.checksCrc = false;
        this.app = false;
        this.command = [];
        this.out = []; // bytes to come
        this.busyBytes = 0; // the last of them that only say 'busy'
        this.reading = null; // { block, many, at }
        this.writing = null; // { block, bytes }
    }

    remove() {
        this.inserted = false;
    }

    insert() {
        this.inserted = true;
        this.insertedAnew();
    }

    select(selected) {
        if (!selected && this.isWithin) {
            this.counts.aborted++;
            Object.assign(this, { command: [], out: [], reading: null, writing: null });
        }
        this.selected = selected;
    }

    /** Whether a transaction is under way: bytes of a command, a response, or data. A card that is busy may be left. */
    get isWithin() {
        return this.command.length > 0 || this.out.length > this.busyBytes || this.reading || this.writing;
    }

    /** A byte of the bus for no device. */
    idleByte() {
        this.clocks++;
    }

    exchange(byte) {
        if (!this.inserted) return 0xff;
        const answer = this.next();
        if (this.writing) this.takeData(byte);
        else this.takeCommand(byte);
        return answer;
    }

    next() {
        if (this.out.length === 0 && this.reading && this.time.now >= this.reading.at) this.loadBlock();
        return this.out.length > 0 ? this.out.shift() : 0xff;
    }

    loadBlock() {
        const { block, many } = this.reading;
        const offset = block * BLOCK;
        if (offset + BLOCK > this.image.length) {
            this.out = [0x08]; // data error token: out of range
            this.reading = null;
            return;
        }
        this.counts.blocks++;
        const bytes = this.image.read(offset, BLOCK);
        this.out = dataPacket(bytes);
        if (this.disturbs(block)) this.out[7] ^= 0x10;
        // The next block's wait begins when this block is out: near enough at the beginning plus its bytes at 12.5 MHz.
        this.reading = many ? { block: block + 1, many, at: this.time.now + this.latency.nextBlock + this.pauses(block + 1) } : null;
    }

    takeCommand(byte) {
        if (this.command.length === 0 && (byte & 0xc0) !== 0x40) return;
        this.command.push(byte);
        if (this.command.length < 6) return;
        const [first, ...rest] = this.command;
        this.command = [];
        this.counts.commands++;
        const code = first & 0x3f;
        const argument = ((rest[0] << 24) | (rest[1] << 16) | (rest[2] << 8) | rest[3]) >>> 0;
        const crcRight = ((crc7([first, ...rest.slice(0, 4)]) << 1) | 1) === rest[4];
        // CMD0 and CMD8 are always checked.
        if (!crcRight && (this.checksCrc || code === 0 || code === 8)) {
            this.counts.crcErrors++;
            this.out = [0xff, R1_CRC_ERROR | this.r1];
            return;
        }
        this.execute(code, argument);
    }

    get r1() {
        return this.idle ? R1_IDLE : 0;
    }

    execute(code, argument) {
        const app = this.app;
        this.app = false;
        this.busyBytes = 0;
        const answer = (...bytes) => (this.out = [0xff, ...bytes]);
        if (app && code === 41) {
            this.readyAt ??= this.time.now + this.latency.start;
            if (this.time.now >= this.readyAt) this.idle = false;
            return answer(this.r1);
        }
        if (app && code === 23) return answer(this.r1);
        switch (code) {
            case 0:
                if (this.clocks * 8 < CLOCKS_AT_START) return;
                this.powerOn();
                return answer(R1_IDLE);
            case 8:
                return answer(this.r1, 0, 0, (argument >> 8) & 0x0f, argument & 0xff);
            case 55:
                this.app = true;
                return answer(this.r1);
            case 58:
                return answer(this.r1, this.idle ? 0 : this.isSdsc ? 0x80 : 0xc0, 0xff, 0x80, 0x00); // powered up, block addresses
            case 59:
                this.checksCrc = (argument & 1) === 1;
                return answer(this.r1);
        }
        if (this.idle) return answer(R1_ILLEGAL | R1_IDLE);
        switch (code) {
            case 9:
                answer(0);
                this.out.push(...dataPacket((this.isSdsc ? csdOfSdsc : csd)(this.image.length)));
                return;
            case 10:
                answer(0);
                this.out.push(...dataPacket(CID));
                return;
            case 12:
                this.reading = null;
                this.out = [0xff, 0xff, 0, 0x00, 0x00, 0xff]; // a stuff byte, the answer, busy for a moment
                this.busyBytes = 3;
                return;
            case 13:
                return answer(0, 0);
            case 16:
                return answer(0);
            case 17:
            case 18:
                if ((this.block(argument) + 1) * BLOCK > this.image.length) return answer(R1_ADDRESS);
                answer(0);
                this.reading = { block: this.block(argument), many: code === 18, at: this.time.now + this.latency.firstBlock };
                this.reading.at += this.pauses(this.reading.block);
                return;
            case 24:
                if ((this.block(argument) + 1) * BLOCK > this.image.length) return answer(R1_ADDRESS);
                answer(0);
                this.writing = { block: this.block(argument), bytes: null };
                return;
            default:
                return answer(R1_ILLEGAL);
        }
    }

    /** The block of an address: bytes for an SDSC card, blocks for the others (4.3.14). */
    block(address) {
        return this.isSdsc ? Math.floor(address / BLOCK) : address;
    }

    takeData(byte) {
        const { writing } = this;
        if (!writing.bytes) {
            if (byte === START_TOKEN) writing.bytes = [];
            return;
        }
        writing.bytes.push(byte);
        if (writing.bytes.length < BLOCK + 2) return;
        this.writing = null;
        const bytes = Uint8Array.from(writing.bytes.slice(0, BLOCK));
        const crc = (writing.bytes[BLOCK] << 8) | writing.bytes[BLOCK + 1];
        if (this.checksCrc && crc !== crc16(bytes)) {
            this.out = [0x0b];
            return;
        }
        this.image.write?.(writing.block * BLOCK, bytes);
        this.out = [0x05, 0x00, 0x00, 0xff]; // accepted, busy for a moment
        this.busyBytes = 3;
    }
}

function dataPacket(bytes) {
    const crc = crc16(bytes);
    return [START_TOKEN, ...bytes, crc >> 8, crc & 0xff];
}

/** CSD version 2.0 (5.3.3): only the capacity matters. */
function csd(length) {
    const bytes = Uint8Array.of(0x40, 0x0e, 0, 0x32, 0x5b, 0x59, 0, 0, 0, 0, 0x7f, 0x80, 0x0a, 0x40, 0, 0);
    const size = Math.floor(length / (512 * 1024)) - 1;
    bytes[7] = (size >> 16) & 0x3f;
    bytes[8] = (size >> 8) & 0xff;
    bytes[9] = size & 0xff;
    bytes[15] = (crc7(bytes.subarray(0, 15)) << 1) | 1;
    return bytes;
}

/** CSD version 1.0 (5.3.2), for a capacity in steps of 256 KiB. */
function csdOfSdsc(length) {
    const bytes = Uint8Array.of(0, 0x26, 0, 0x32, 0x5b, 0x59, 0, 0, 0, 0x03, 0x80, 0, 0x0a, 0x40, 0, 0);
    const size = Math.floor(length / (512 * 512)) - 1; // C_SIZE, with C_SIZE_MULT = 7 and READ_BL_LEN = 9
    bytes[6] = (size >> 10) & 0x03;
    bytes[7] = (size >> 2) & 0xff;
    bytes[8] = (size & 0x03) << 6;
    bytes[15] = (crc7(bytes.subarray(0, 15)) << 1) | 1;
    return bytes;
}

export function crc7(bytes) {
    let crc = 0;
    for (const byte of bytes) {
        for (let bit = 7; bit >= 0; bit--) {
            const top = ((crc >> 6) ^ (byte >> bit)) & 1;
            crc = ((crc << 1) & 0x7f) ^ (top ? 0x09 : 0);
        }
    }
    return crc;
}

export function crc16(bytes) {
    let crc = 0;
    for (const byte of bytes) crc = ((crc << 8) & 0xffff) ^ CRC16[(crc >> 8) ^ byte];
    return crc;
}

const CRC16 = Uint16Array.from({ length: 256 }, (_, index) => {
    let crc = index << 8;
    for (let bit = 0; bit < 8; bit++) crc = crc & 0x8000 ? (crc << 1) ^ 0x1021 : crc << 1;
    return crc & 0xffff;
});

const BLOCK = 512;
const CLOCKS_AT_START = 74;
const START_TOKEN = 0xfe;
const R1_IDLE = 0x01;
const R1_ILLEGAL = 0x04;
const R1_CRC_ERROR = 0x08;
const R1_ADDRESS = 0x20;
const CID = Uint8Array.of(0x70, 0x69, 0x70, 0x69, 0x6e, 0x65, 0x74, 0x62, 0x10, 0, 0, 0, 1, 1, 0xa6, 0x01);
