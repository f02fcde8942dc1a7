// A clock for tests of one model alone.

export class VirtualTime {
    now = 0;
    queue = [];

    at(nanos, callback) {
        this.queue.push({ nanos, callback });
        this.queue.sort((a, b) => a.nanos - b.nanos);
    }

    run() {
        while (this.queue.length > 0) {
            const { nanos, callback } = this.queue.shift();
            this.now = Math.max(this.now, nanos);
            callback();
        }
    }
}
