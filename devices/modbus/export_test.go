package modbus

import "pneudaq/acquisition"

// CheckSum is the check sum of RTU frames.
func CheckSum(b []byte) uint16 { return newCRCTable().sum(b) }

// Judge says what the driver makes of an answer PDU to a request PDU.
func Judge(request, answer []byte) (acquisition.Reason, string) {
	s := shapeOf(request)
	reason, _ := s.verify(request, answer)
	return reason, s.explain(answer)
}

// FrameLength is the length of the RTU answer that b begins with.
func FrameLength(b []byte) int { return rtuLength(b) }

// Objects reads the objects of an identification.
func Objects(pdu []byte) map[byte]string { return identityObjects(pdu) }
