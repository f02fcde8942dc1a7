// Programs outside the board that a test starts: their output, and their end with the test.

import { spawn } from 'node:child_process';

export class Program {
    constructor(t, command, args) {
        this.name = command;
        this.said = '';
        this.waiting = [];
        this.child = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'] });
        for (const stream of [this.child.stdout, this.child.stderr]) {
            stream.setEncoding('latin1').on('data', (text) => {
                this.said += text;
                for (const { timer } of this.waiting) timer.refresh();
                this.look();
            });
        }
        this.ended = new Promise((resolve, reject) => {
            this.child.once('error', reject).once('close', (code) => {
                this.over = true;
                this.look();
                resolve(code);
            });
        });
        this.ended.catch(() => {});
        t.after(async () => {
            this.child.kill('SIGKILL');
            await this.ended.catch(() => {});
        });
    }

    say(text) {
        this.child.stdin.write(text);
    }

    /**
     * Waits until the program prints the text, and returns the output up to there; later calls start after it. Fails when the
     * program ends, or prints nothing for `seconds`: a slow machine may take long, as long as output comes.
     */
    expect(text, seconds = 60) {
        return new Promise((resolve, reject) => {
            const timer = setTimeout(() => this.fail(waiting, `and nothing else for ${seconds} s`), seconds * 1000);
            const waiting = { text, resolve, reject, timer };
            this.waiting.push(waiting);
            this.look();
        });
    }

    look() {
        while (this.waiting.length > 0) {
            const [waiting] = this.waiting;
            const at = this.said.indexOf(waiting.text);
            if (at < 0) {
                if (this.over) this.fail(waiting, 'it ended');
                return;
            }
            const end = at + waiting.text.length;
            clearTimeout(waiting.timer);
            this.waiting.shift();
            waiting.resolve(this.said.slice(0, end));
            this.said = this.said.slice(end);
        }
    }

    fail(waiting, why) {
        clearTimeout(waiting.timer);
        this.waiting = this.waiting.filter((other) => other !== waiting);
        waiting.reject(new Error(`${this.name} did not say '${waiting.text}', ${why}; it said:\n${this.said}`));
    }
}
