package modbus

// CheckSum is the check sum of RTU frames.
func CheckSum(b []byte) uint16 { return newCRCTable().sum(b) }
