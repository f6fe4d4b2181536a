package acquisition

import (
	"encoding/json"
	"fmt"
)

// Reason says why a sample may not be used without thought, or why a slot that
// was due is not in the record. It is a closed list: readers of old records
// rely on the numbers, so a number is never given to another meaning.
type Reason uint8

// The reasons. The comment of each is its meaning for an operator; the table
// in the documentation is generated from [Reasons].
const (
	ReasonNone         Reason = 0  // nothing to report: the sample is good
	ReasonTimeout      Reason = 1  // the device did not answer in time
	ReasonUnreachable  Reason = 2  // no connection to the device or broker
	ReasonReset        Reason = 3  // the peer closed the connection inside an answer
	ReasonShortFrame   Reason = 4  // an answer stopped half way
	ReasonSlow         Reason = 5  // an answer trickled in and was not whole in time
	ReasonProtocol     Reason = 6  // an answer that is not a valid answer to the question
	ReasonCRC          Reason = 7  // the check sum of an answer is wrong
	ReasonException    Reason = 8  // the device refused the request: address, quantity or function
	ReasonDeviceFault  Reason = 9  // the device reports a fault of its own (exception 4)
	ReasonBusy         Reason = 10 // the device is busy (exception 5 or 6)
	ReasonDeviceMemory Reason = 11 // the device reports a memory or execution error (exception 7 or 8)
	ReasonGateway      Reason = 12 // a gateway reports no path or no answer (exception 10 or 11)
	ReasonOverrun      Reason = 13 // the bus was still busy when the slot was due
	ReasonBackpressure Reason = 14 // the disk was too slow and the memory limit was reached
	ReasonDiskFull     Reason = 15 // no space left on the disk of the store
	ReasonIO           Reason = 16 // the disk of the store reported an error
	ReasonCorrupt      Reason = 17 // stored bytes were damaged
	ReasonProcess      Reason = 18 // the service was not running
	ReasonPower        Reason = 19 // the machine was not running
	ReasonSuspended    Reason = 20 // the machine was asleep
	ReasonBrokerLoss   Reason = 21 // the broker lost messages
	ReasonSeqGap       Reason = 22 // the device's own numbers show that something is missing
	ReasonSilent       Reason = 23 // nothing came for longer than expected
	ReasonConfig       Reason = 24 // the rig file does not fit the device; the channel is stopped
	ReasonQuarantine   Reason = 25 // the unit did not answer repeatedly and is asked less often
	ReasonReboot       Reason = 26 // the device restarted
	ReasonIdentity     Reason = 27 // another device answers at this address
	ReasonStopped      Reason = 28 // an operator or a reload stopped the group
	ReasonClockBehind  Reason = 29 // the clock is not after the last stored time
	ReasonNaN          Reason = 30 // the device marks the value as not a number
	ReasonOverRange    Reason = 31 // above the range of the device or channel
	ReasonUnderRange   Reason = 32 // below the range of the device or channel
	ReasonNoData       Reason = 33 // the device says that it has no value
	ReasonDecode       Reason = 34 // the payload has no usable value here
	ReasonStuck        Reason = 35 // the value has not moved for longer than its model allows
	ReasonWrapReset    Reason = 36 // a totalizer was reset
	ReasonSkew         Reason = 37 // the device's clock disagrees with ours
	ReasonLate         Reason = 38 // arrived later than the order window allows
	ReasonClockStep    Reason = 39 // the wall clock stepped near this sample
	ReasonRetained     Reason = 40 // a retained message: old, never a live sample
	ReasonHeld         Reason = 41 // borrowed value older than its own period
	ReasonDerived      Reason = 42 // an operand of the expression is not good
	ReasonDuplicate    Reason = 43 // the time or number was there already with other data
	ReasonOutOfRange   Reason = 44 // outside the plausible range of the rig file
)

// Class says how a sample may be used.
type Class uint8

// The classes of quality.
const (
	ClassGood Class = iota
	ClassUncertain
	ClassBad
)

// String returns the English word of the class.
func (c Class) String() string {
	switch c {
	case ClassGood:
		return "good"
	case ClassUncertain:
		return "uncertain"
	case ClassBad:
		return "bad"
	}
	return "class?"
}

// ReasonText describes one reason for people: the stable name used in files,
// the class of a sample that carries it, and its meaning in both languages.
type ReasonText struct {
	Reason Reason
	Name   string
	Class  Class
	EN, ZH string
}

// Reasons returns the closed list in the order of its numbers.
func Reasons() []ReasonText {
	return []ReasonText{
		{ReasonNone, "good", ClassGood, "nothing to report", "正常"},
		{ReasonTimeout, "timeout", ClassBad, "the device did not answer in time", "设备未在规定时间内应答"},
		{ReasonUnreachable, "unreachable", ClassBad, "no connection to the device or broker", "无法连接设备或消息代理"},
		{ReasonReset, "reset", ClassBad, "the peer closed the connection inside an answer", "对端在应答过程中断开连接"},
		{ReasonShortFrame, "short_frame", ClassBad, "an answer stopped half way", "应答帧不完整"},
		{ReasonSlow, "slow", ClassBad, "an answer trickled in and was not whole in time", "应答过慢，未在时限内收全"},
		{ReasonProtocol, "protocol", ClassBad, "the answer is not valid for the request", "应答不符合协议"},
		{ReasonCRC, "crc", ClassBad, "the check sum of an answer is wrong", "校验和错误"},
		{ReasonException, "exception", ClassBad, "the device refused the request (function, address or quantity)", "设备拒绝请求（功能码、地址或数量）"},
		{ReasonDeviceFault, "device_fault", ClassBad, "the device reports a fault of its own", "设备报告自身故障"},
		{ReasonBusy, "busy", ClassBad, "the device is busy", "设备忙"},
		{ReasonDeviceMemory, "device_memory", ClassBad, "the device reports a memory or execution error", "设备报告存储或执行错误"},
		{ReasonGateway, "gateway", ClassBad, "a gateway has no path to the device or got no answer from it", "网关无通路或下游无应答"},
		{ReasonOverrun, "overrun", ClassBad, "the bus was still busy when the slot was due", "总线繁忙，错过计划时刻"},
		{ReasonBackpressure, "backpressure", ClassBad, "the disk was too slow and the memory limit was reached", "磁盘过慢，已达内存上限"},
		{ReasonDiskFull, "disk_full", ClassBad, "no space left on the disk of the store", "存储磁盘已满"},
		{ReasonIO, "io", ClassBad, "the disk of the store reported an error", "存储磁盘读写错误"},
		{ReasonCorrupt, "corrupt", ClassBad, "stored bytes were damaged", "存储数据损坏"},
		{ReasonProcess, "process", ClassBad, "the service was not running", "服务未运行"},
		{ReasonPower, "power", ClassBad, "the machine was not running", "机器断电或未运行"},
		{ReasonSuspended, "suspended", ClassBad, "the machine was asleep", "机器处于休眠"},
		{ReasonBrokerLoss, "broker_loss", ClassBad, "the broker lost messages", "消息代理丢失消息"},
		{ReasonSeqGap, "seq_gap", ClassBad, "the device's own numbers show that something is missing", "设备序号不连续，数据缺失"},
		{ReasonSilent, "silent", ClassBad, "nothing came for longer than expected", "超过预期时间未收到数据"},
		{ReasonConfig, "config", ClassBad, "the rig file does not fit the device", "台架文件与设备不符"},
		{ReasonQuarantine, "quarantine", ClassBad, "the unit did not answer repeatedly and is asked less often", "从站多次无应答，降低询问频率"},
		{ReasonReboot, "reboot", ClassBad, "the device restarted", "设备重启"},
		{ReasonIdentity, "identity", ClassBad, "another device answers at this address", "该地址的设备身份不符"},
		{ReasonStopped, "stopped", ClassBad, "an operator or a reload stopped the group", "操作员或重新加载停止了采集"},
		{ReasonClockBehind, "clock_behind", ClassBad, "the clock is not after the last stored time", "时钟早于最后存储时刻"},
		{ReasonNaN, "nan", ClassBad, "the device marks the value as not a number", "设备标记为非数值"},
		{ReasonOverRange, "over_range", ClassBad, "above the range of the device", "超过设备量程上限"},
		{ReasonUnderRange, "under_range", ClassBad, "below the range of the device", "低于设备量程下限"},
		{ReasonNoData, "no_data", ClassBad, "the device says that it has no value", "设备无数据"},
		{ReasonDecode, "decode", ClassBad, "the payload has no usable value here", "报文中没有可用数值"},
		{ReasonStuck, "stuck", ClassUncertain, "the value has not moved for longer than its model allows", "数值长时间不变"},
		{ReasonWrapReset, "wrap_reset", ClassUncertain, "a totalizer was reset", "累积量被清零"},
		{ReasonSkew, "skew", ClassUncertain, "the device's clock disagrees with ours", "设备时钟与本机不一致"},
		{ReasonLate, "late", ClassUncertain, "arrived later than the order window allows", "到达过晚"},
		{ReasonClockStep, "clock_step", ClassUncertain, "the wall clock stepped near this sample", "此时刻附近系统时钟跳变"},
		{ReasonRetained, "retained", ClassBad, "a retained message: old, never a live reading", "保留消息，非实时读数"},
		{ReasonHeld, "held", ClassUncertain, "borrowed value older than its own period", "借用的数值已过期"},
		{ReasonDerived, "derived", ClassBad, "an operand of the expression is not good", "表达式的操作数不可用"},
		{ReasonDuplicate, "duplicate", ClassBad, "the time or number was there already with other data", "时间或序号重复且数据不同"},
		{ReasonOutOfRange, "out_of_range", ClassUncertain, "outside the plausible range of the rig file", "超出台架文件规定的合理范围"},
	}
}

// String returns the stable name, for example "timeout".
func (r Reason) String() string {
	if all := Reasons(); int(r) < len(all) {
		return all[r].Name
	}
	return fmt.Sprintf("reason(%d)", uint8(r))
}

// ParseReason returns the reason with the given stable name.
func ParseReason(name string) (Reason, error) {
	for _, t := range Reasons() {
		if t.Name == name {
			return t.Reason, nil
		}
	}
	return 0, fmt.Errorf("reason %q is not in the list", name)
}

// MarshalJSON writes the stable name.
func (r Reason) MarshalJSON() ([]byte, error) {
	return []byte(`"` + r.String() + `"`), nil
}

// UnmarshalJSON reads the stable name.
func (r *Reason) UnmarshalJSON(data []byte) error {
	var name string
	if err := json.Unmarshal(data, &name); err != nil {
		return fmt.Errorf("read reason: %w", err)
	}
	v, err := ParseReason(name)
	if err != nil {
		return err
	}
	*r = v
	return nil
}

// MarshalText writes the stable name, also as the key of a map.
func (r Reason) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads the stable name.
func (r *Reason) UnmarshalText(text []byte) error {
	v, err := ParseReason(string(text))
	if err != nil {
		return err
	}
	*r = v
	return nil
}

// Quality says whether a sample may be used. Its zero value is good; any other
// value is the reason why not, whose class is uncertain or bad.
type Quality uint8

// Good is the quality of a sample with nothing to report.
const Good Quality = 0

// Reason returns why the sample is not good, [ReasonNone] if it is.
func (q Quality) Reason() Reason { return Reason(q) }

// Class returns good, uncertain or bad.
func (q Quality) Class() Class {
	switch r := Reason(q); {
	case r == ReasonNone:
		return ClassGood
	case r == ReasonRetained, r == ReasonDerived, r == ReasonDuplicate:
		return ClassBad
	case r >= ReasonStuck:
		return ClassUncertain
	}
	return ClassBad
}

// String returns the stable name of the reason, "good" if there is none.
func (q Quality) String() string { return Reason(q).String() }
