/* Reads and writes unit 1 of the twin in modbus_interop_test.go through libmodbus and prints what it got, a line a call.
   Usage: libmodbus tcp HOST PORT | libmodbus rtu DEVICE */
#include <errno.h>
#include <modbus.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void words(const char *what, int n, const uint16_t *w) {
	printf("%s %d", what, n);
	for (int i = 0; i < n; i++) printf(" %04X", w[i]);
	puts("");
}

static void bits(const char *what, int n, const uint8_t *b) {
	printf("%s %d", what, n);
	for (int i = 0; i < n; i++) printf(" %d", b[i]);
	puts("");
}

int main(int argc, char **argv) {
	modbus_t *c = NULL;
	if (argc == 4 && strcmp(argv[1], "tcp") == 0) c = modbus_new_tcp(argv[2], atoi(argv[3]));
	if (argc == 3 && strcmp(argv[1], "rtu") == 0) c = modbus_new_rtu(argv[2], 115200, 'N', 8, 1);
	if (c == NULL) return 2;
	modbus_set_response_timeout(c, 5, 0);
	modbus_set_slave(c, 1);
	if (modbus_connect(c) != 0) {
		printf("connect: %s\n", modbus_strerror(errno));
		return 1;
	}
	uint16_t w[125] = {0};
	uint8_t b[2000] = {0};
	uint16_t three[3] = {0x1111, 0x2222, 0x3333};
	uint8_t on[3] = {1, 0, 1};
	words("read registers", modbus_read_registers(c, 0, 4, w), w);
	printf("float abcd %.3f\n", modbus_get_float_abcd(w));
	printf("float cdab %.3f\n", modbus_get_float_cdab(w + 2));
	words("read input registers", modbus_read_input_registers(c, 0, 2, w), w);
	bits("read bits", modbus_read_bits(c, 0, 4, b), b);
	bits("read input bits", modbus_read_input_bits(c, 0, 2, b), b);
	printf("write bit %d\n", modbus_write_bit(c, 3, 1));
	printf("write bits %d\n", modbus_write_bits(c, 0, 3, on));
	bits("read bits", modbus_read_bits(c, 0, 4, b), b);
	printf("write register %d\n", modbus_write_register(c, 10, 0x0012));
	printf("mask write %d\n", modbus_mask_write_register(c, 10, 0x00F2, 0x0025));
	words("read registers", modbus_read_registers(c, 10, 1, w), w);
	words("write and read", modbus_write_and_read_registers(c, 11, 3, three, 10, 4, w), w);
	printf("write registers %d\n", modbus_write_registers(c, 11, 3, three));
	printf("beyond the table: %d", modbus_read_registers(c, 200, 1, w));
	printf(" %s\n", modbus_strerror(errno));
	printf("read-only: %d", modbus_write_register(c, 0, 1));
	printf(" %s\n", modbus_strerror(errno));
	modbus_close(c);
	modbus_free(c);
	return 0;
}
