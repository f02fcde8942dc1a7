// The first and only program of a test's initramfs: says that it runs, and turns the machine off.
        .globl  _start
_start: mov     x0, #1
        adr     x1, line
        mov     x2, #(end - line)
        mov     x8, #64                 // write
        svc     #0
        ldr     x0, =0xfee1dead
        ldr     x1, =0x28121969
        ldr     x2, =0x4321fedc         // power off
        mov     x8, #142                // reboot
        svc     #0
        b       .
line:   .ascii  "pinetboot: init runs from the initramfs\n"
end:
