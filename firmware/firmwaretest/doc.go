// Package firmwaretest runs firmware in QEMU for tests: the demo board with its
// UART on a character device of the test's choice. What it starts ends with the
// test, also when that is killed.
package firmwaretest
