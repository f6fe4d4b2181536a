package configs

import (
	"slices"
	"strconv"
	"strings"
)

// The codes of problems. A code is never given to another meaning; new ones
// are added behind the last of their hundred.
const (
	pdOpen        Code = "PD1001"
	pdDirectory   Code = "PD1002"
	pdTooLarge    Code = "PD1003"
	pdEmpty       Code = "PD1004"
	pdDocuments   Code = "PD1005"
	pdNotMapping  Code = "PD1006"
	pdNoKind      Code = "PD1007"
	pdWrongKind   Code = "PD1008"
	pdFileMissing Code = "PD1009"

	pdSyntax       Code = "PD1021"
	pdUTF8         Code = "PD1022"
	pdTab          Code = "PD1023"
	pdControl      Code = "PD1024"
	pdLongLine     Code = "PD1025"
	pdDepth        Code = "PD1026"
	pdNodes        Code = "PD1027"
	pdAlias        Code = "PD1028"
	pdUnsupported  Code = "PD1029"
	pdKeyText      Code = "PD1030"
	pdDuplicateKey Code = "PD1031"
	pdLines        Code = "PD1032"

	pdUnknownKey     Code = "PD1041"
	pdUnknownKeyNear Code = "PD1042"
	pdSecret         Code = "PD1043"
	pdMissingKey     Code = "PD1044"
	pdNull           Code = "PD1045"
	pdWantMapping    Code = "PD1046"
	pdWantScalar     Code = "PD1047"
	pdWantList       Code = "PD1048"
	pdWantNames      Code = "PD1049"
	pdListLength     Code = "PD1050"
	pdWantBool       Code = "PD1051"
	pdWantInteger    Code = "PD1052"
	pdWantNumber     Code = "PD1053"
	pdDecimalComma   Code = "PD1054"
	pdOctal          Code = "PD1055"
	pdWantDuration   Code = "PD1056"
	pdDurationUnit   Code = "PD1057"
	pdTooSmall       Code = "PD1058"
	pdTooBig         Code = "PD1059"
	pdChoice         Code = "PD1060"
	pdChoiceNear     Code = "PD1061"
	pdWantForm       Code = "PD1062"
	pdName           Code = "PD1063"
	pdVersion        Code = "PD1064"

	pdReference       Code = "PD1081"
	pdReferenceNear   Code = "PD1082"
	pdModelUnknown    Code = "PD1083"
	pdModelNear       Code = "PD1084"
	pdRegisterUnknown Code = "PD1085"
	pdRegisterNear    Code = "PD1086"
	pdNoModel         Code = "PD1087"
	pdRigTwice        Code = "PD1088"
	pdIDTwice         Code = "PD1089"
	pdChannelTwice    Code = "PD1090"
	pdRigListed       Code = "PD1091"
	pdNoRigs          Code = "PD1092"

	pdNoProtocol        Code = "PD1101"
	pdTwoProtocols      Code = "PD1102"
	pdEndpoint          Code = "PD1103"
	pdScheme            Code = "PD1104"
	pdSchemeNear        Code = "PD1105"
	pdSecretInURL       Code = "PD1106"
	pdHost              Code = "PD1107"
	pdPort              Code = "PD1108"
	pdOnlyMQTT          Code = "PD1109"
	pdOnlyModbus        Code = "PD1110"
	pdInflightRTU       Code = "PD1111"
	pdTLSKeys           Code = "PD1112"
	pdCertAndKey        Code = "PD1113"
	pdUnitID            Code = "PD1114"
	pdUnitTaken         Code = "PD1115"
	pdUnitsWithoutModel Code = "PD1116"

	pdGroupEmpty     Code = "PD1121"
	pdGroupBuses     Code = "PD1122"
	pdGroupNoBus     Code = "PD1123"
	pdOurMeasurement Code = "PD1124"
	pdOurTag         Code = "PD1125"
	pdPhase          Code = "PD1126"
	pdZone           Code = "PD1127"

	pdNoOrigin       Code = "PD1141"
	pdNoAddress      Code = "PD1142"
	pdTwoAddresses   Code = "PD1143"
	pdBelowBase      Code = "PD1144"
	pdBeyondTable    Code = "PD1145"
	pdBitTable       Code = "PD1146"
	pdBitScale       Code = "PD1147"
	pdBitRange       Code = "PD1148"
	pdBitsMissing    Code = "PD1149"
	pdOrderLetters   Code = "PD1150"
	pdOrderMissing   Code = "PD1151"
	pdScaleZero      Code = "PD1152"
	pdSentinelBits   Code = "PD1153"
	pdReason         Code = "PD1154"
	pdReasonNear     Code = "PD1155"
	pdRange          Code = "PD1156"
	pdReadOnlyTable  Code = "PD1157"
	pdNotWritable    Code = "PD1158"
	pdTextRegister   Code = "PD1159"
	pdRegisterOnMQTT Code = "PD1160"
	pdNoTopic        Code = "PD1161"
	pdBorrowForm     Code = "PD1162"
	pdBorrowSelf     Code = "PD1163"
	pdLenderRig      Code = "PD1164"
	pdLenderChannel  Code = "PD1165"
	pdOnlyFIFO       Code = "PD1166"

	pdUnit         Code = "PD1171"
	pdUnitNear     Code = "PD1172"
	pdDimension    Code = "PD1173"
	pdUnitOpen     Code = "PD1174"
	pdAccuracyUnit Code = "PD1175"

	pdModelBase       Code = "PD1181"
	pdModelUnit       Code = "PD1182"
	pdModelSays       Code = "PD1183"
	pdModelType       Code = "PD1184"
	pdModelOrder      Code = "PD1185"
	pdModelTable      Code = "PD1186"
	pdModelInside     Code = "PD1187"
	pdModelAbsent     Code = "PD1188"
	pdModelUnitStated Code = "PD1189"
	pdModelScale      Code = "PD1190"
	pdModelReadOnly   Code = "PD1191"
	pdSameRegister    Code = "PD1192"

	pdOverlap       Code = "PD1201"
	pdValueOrReason Code = "PD1202"
	pdRawLength     Code = "PD1203"
	pdVector        Code = "PD1204"

	pdExpression       Code = "PD1221"
	pdOtherGroup       Code = "PD1222"
	pdDerivedOfDerived Code = "PD1223"
	pdNoSafeState      Code = "PD1224"

	pdNoHeartbeat  Code = "PD1231"
	pdSafeReadOnly Code = "PD1232"
	pdSafeRange    Code = "PD1233"
	pdNotInSafe    Code = "PD1234"

	pdInstrumentMissing  Code = "PD1241"
	pdInstrumentUnit     Code = "PD1242"
	pdCertificateDates   Code = "PD1243"
	pdCertificateOrder   Code = "PD1244"
	pdPointOrder         Code = "PD1245"
	pdCertificateExpired Code = "PD1246"
	pdNoCertificate      Code = "PD1247"

	pdTwinSignal     Code = "PD1261"
	pdTwinSignalNear Code = "PD1262"
	pdTwinParam      Code = "PD1263"
	pdTwinParamName  Code = "PD1264"
	pdTwinNoWire     Code = "PD1265"
	pdTwinBroker     Code = "PD1266"
	pdTwinUnit       Code = "PD1267"
	pdTwinOptions    Code = "PD1268"
	pdTwinMissing    Code = "PD1269"

	pdPlan         Code = "PD1281"
	pdPlanHigh     Code = "PD1282"
	pdBus          Code = "PD1283"
	pdSecretFile   Code = "PD1284"
	pdCertificates Code = "PD1285"
	pdNoURL        Code = "PD1286"
	pdUnusedBus    Code = "PD1287"
	pdUnusedDevice Code = "PD1288"
	pdStoreSize    Code = "PD1289"
	pdEntity       Code = "PD1290"

	pdTableHead   Code = "PD1301"
	pdTableCell   Code = "PD1302"
	pdTableEmpty  Code = "PD1303"
	pdTableFormat Code = "PD1304"
	pdTableTwice  Code = "PD1305"
)

// Message is the text of one code in both languages. {1}, {2} ... stand for
// what a problem is about.
type Message struct {
	Code         Code
	WhatEN, DoEN string
	WhatZH, DoZH string
}

func (m *Message) what(l Language) string {
	if l == Chinese {
		return m.WhatZH
	}
	return m.WhatEN
}

func (m *Message) do(l Language) string {
	if l == Chinese {
		return m.DoZH
	}
	return m.DoEN
}

// expand puts the arguments into a text.
func expand(text string, args []string) string {
	if !strings.Contains(text, "{") {
		return text
	}
	pairs := make([]string, 0, 2*len(args))
	for i, a := range args {
		pairs = append(pairs, "{"+strconv.Itoa(i+1)+"}", a)
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

// lookupMessage returns the message of a code.
func lookupMessage(c Code) (Message, bool) {
	all := Messages()
	i, ok := slices.BinarySearchFunc(all, c, func(m Message, c Code) int { return strings.Compare(string(m.Code), string(c)) })
	if !ok {
		return Message{}, false
	}
	return all[i], true
}

// kindsChinese are the words for what a problem is about.
func kindsChinese() map[string]string {
	return map[string]string{
		"rig": "台架", "bus": "总线", "device": "设备", "group": "组", "channel": "通道", "register": "寄存器", "limit": "限值",
		"safe state": "安全状态", "heartbeat": "心跳", "identity check": "身份检查", "constant": "常数", "vector": "测试向量",
		"buffer": "缓冲区", "instrument": "仪器", "certificate": "证书", "point": "校准点", "service": "服务", "influx": "数据库",
		"publisher": "发布者", "signal": "信号", "wire": "线缆文件", "model": "型号", "row": "行", "simulate": "孪生",
	}
}

// Messages returns the catalogue in the order of its codes.
func Messages() []Message {
	return []Message{
		{
			pdOpen,
			"the file cannot be opened: {1}",
			"check the path and the permissions",
			"无法打开文件：{1}",
			"检查路径和权限",
		},
		{
			pdDirectory,
			"this is a directory",
			"name the file in it",
			"这是一个目录",
			"请指定其中的文件",
		},
		{
			pdTooLarge,
			"the file has {1} bytes, at most {2} are read",
			"split it into several rigs, or check that it is the right file",
			"文件有 {1} 字节，最多读取 {2} 字节",
			"拆分为多个台架，或检查是否选错文件",
		},
		{
			pdEmpty,
			"the file is empty",
			"begin with version: 1 and rig: NAME",
			"文件为空",
			"以 version: 1 和 rig: 名称 开头",
		},
		{
			pdDocuments,
			"a second document begins here",
			"one file holds one document: take the line --- away",
			"这里开始了第二个文档",
			"一个文件只能有一个文档：删除 --- 行",
		},
		{
			pdNotMapping,
			"the file must consist of keys with values",
			"begin with version: 1 and rig: NAME",
			"文件必须由键和值组成",
			"以 version: 1 和 rig: 名称 开头",
		},
		{
			pdNoKind,
			"the file says nowhere what it is",
			"add one of the keys {1} with a name",
			"文件没有说明自己的类型",
			"加入 {1} 之一并给出名称",
		},
		{
			pdWrongKind,
			"this file describes: {1}; what is needed here: {2}",
			"name another file",
			"该文件描述的是 {1}，此处需要 {2}",
			"请指定另一个文件",
		},
		{
			pdFileMissing,
			"there is no file {1}",
			"correct the path: it counts from the directory of this file",
			"文件 {1} 不存在",
			"更正路径：路径相对于本文件所在目录",
		},
		{
			pdSyntax,
			"this is not YAML: {1}",
			"look at the indentation, the blanks after : and -, and the quotes of this line",
			"不是有效的 YAML：{1}",
			"检查本行的缩进、冒号和短横后的空格以及引号",
		},
		{
			pdUTF8,
			"the line has bytes that are not UTF-8",
			"save the file as UTF-8 (not GBK or UTF-16)",
			"该行包含非 UTF-8 字节",
			"将文件保存为 UTF-8（不是 GBK 或 UTF-16）",
		},
		{
			pdTab,
			"a tab at the beginning of a line",
			"indent with blanks",
			"行首有制表符",
			"请用空格缩进",
		},
		{
			pdControl,
			"the character {1} cannot be seen",
			"take it away",
			"不可见字符 {1}",
			"请删除",
		},
		{
			pdLongLine,
			"the line has {1} bytes, at most {2} are read",
			"break it",
			"该行有 {1} 字节，最多 {2}",
			"请换行",
		},
		{
			pdDepth,
			"values are nested deeper than {1} levels",
			"this is not a file of ours: check that it is the right one",
			"嵌套超过 {1} 层",
			"这不像本系统的文件，请检查是否选错",
		},
		{
			pdNodes,
			"the file has more than {1} values once its aliases are expanded",
			"write out what is repeated, or split the file",
			"展开别名后数值超过 {1} 个",
			"减少重复或拆分文件",
		},
		{
			pdAlias,
			"alias *{1} names no anchor that stands before it",
			"write &{1} in front of the value that is meant, or write the value out",
			"别名 *{1} 前面没有对应的锚点",
			"在所指的值前写 &{1}，或直接写出该值",
		},
		{
			pdUnsupported,
			"{1} is not taken here",
			"write the value out",
			"此处不接受 {1}",
			"直接写出该值",
		},
		{
			pdKeyText,
			"a key must be a plain word",
			"write KEY: VALUE",
			"键必须是普通单词",
			"写成 键: 值",
		},
		{
			pdDuplicateKey,
			"key {1} was given before, at line {2} column {3}",
			"keep one of the two",
			"键 {1} 已在第 {2} 行第 {3} 列出现",
			"两处只保留一处",
		},
		{
			pdLines,
			"the file has {1} lines, at most {2} are read",
			"split it, or check that it is the right file",
			"文件有 {1} 行，最多读取 {2} 行",
			"请拆分，或检查是否选错文件",
		},
		{
			pdUnknownKey,
			"key {1} is not known here",
			"use one of {2}",
			"此处没有键 {1}",
			"可用的键：{2}",
		},
		{
			pdUnknownKeyNear,
			"key {1} is not known here",
			"write {2}",
			"此处没有键 {1}",
			"请写 {2}",
		},
		{
			pdSecret,
			"key {1}: secrets do not belong into this file, which is copied and shown",
			"write the secret into a file of its own and name it with {2}, or set it in the environment PNEUDAQ_*",
			"键 {1}：本文件会被复制和显示，不得包含密码",
			"将密码写入单独文件并用 {2} 指明，或使用环境变量 PNEUDAQ_*",
		},
		{
			pdMissingKey,
			"key {1} is missing: {2}",
			"add {1}: ...",
			"缺少键 {1}：{2}",
			"加入 {1}: ...",
		},
		{
			pdNull,
			"key {1} has no value",
			"write a value after the colon or take the key away",
			"键 {1} 没有值",
			"在冒号后写值，或删除该键",
		},
		{
			pdWantMapping,
			"keys with values are needed here",
			"indent them below or write { KEY: VALUE }; known are {1}",
			"此处需要键和值",
			"在下面缩进书写，或写成 { 键: 值 }；可用的键：{1}",
		},
		{
			pdWantScalar,
			"{1} is one value",
			"write {1}: VALUE",
			"{1} 只能是一个值",
			"写成 {1}: 值",
		},
		{
			pdWantList,
			"{1} is a list",
			"write {1}: [A, B]",
			"{1} 是列表",
			"写成 {1}: [A, B]",
		},
		{
			pdWantNames,
			"{1} holds names with values",
			"write under {1} one line NAME: ... for each {2}",
			"{1} 由名称和值组成",
			"在 {1} 下为每个 {2} 写一行 名称: ...",
		},
		{
			pdListLength,
			"{1} takes {2} values, here are {3}",
			"write {2} of them",
			"{1} 需要 {2} 个值，这里有 {3} 个",
			"写 {2} 个",
		},
		{
			pdWantBool,
			`{1} is true or false, not "{2}"`,
			"write true or false",
			`{1} 只能是 true 或 false，不能是"{2}"`,
			"写 true 或 false",
		},
		{
			pdWantInteger,
			`{1} is a whole number, not "{2}"`,
			"write digits, or 0x and hexadecimal digits, without quotes",
			`{1} 必须是整数，不能是"{2}"`,
			"写数字，或 0x 加十六进制，不加引号",
		},
		{
			pdWantNumber,
			`{1} is a number, not "{2}"`,
			"write a number such as 0.01, without unit and quotes",
			`{1} 必须是数字，不能是"{2}"`,
			"写数字，例如 0.01，不带单位和引号",
		},
		{
			pdDecimalComma,
			`{1} "{2}" has a comma`,
			"write {3}",
			`{1} "{2}" 使用了逗号`,
			"写成 {3}",
		},
		{
			pdOctal,
			"{1} {2} begins with 0, which some programs read as octal",
			"write {3}",
			"{1} {2} 以 0 开头，可能被当作八进制",
			"写成 {3}",
		},
		{
			pdWantDuration,
			`{1} is a time, not "{2}"`,
			"write it with its unit: 100ms, 1s, 5m",
			`{1} 是时间，不能是"{2}"`,
			"带单位书写：100ms、1s、5m",
		},
		{
			pdDurationUnit,
			"{1} {2} has no unit",
			"write {2}ms or {2}s, whichever is meant",
			"{1} {2} 没有单位",
			"按所指写成 {2}ms 或 {2}s",
		},
		{
			pdTooSmall,
			"{1} {2} is less than {3}",
			"write {3} or more",
			"{1} {2} 小于 {3}",
			"请写 {3} 或更大",
		},
		{
			pdTooBig,
			"{1} {2} is more than {3}",
			"write {3} or less",
			"{1} {2} 大于 {3}",
			"请写 {3} 或更小",
		},
		{
			pdChoice,
			`{1} "{2}" is not known`,
			"write one of {3}",
			`{1} "{2}" 未知`,
			"可选：{3}",
		},
		{
			pdChoiceNear,
			`{1} "{2}" is not known`,
			"write {3} (known are {4})",
			`{1} "{2}" 未知`,
			"请写 {3}（可选：{4}）",
		},
		{
			pdWantForm,
			`{1} "{2}" cannot be read`,
			"write {3}",
			`{1} "{2}" 无法识别`,
			"请写 {3}",
		},
		{
			pdName,
			`the name "{1}" cannot be used`,
			"choose another: {2}",
			`名称"{1}"不能使用`,
			"请另选：{2}",
		},
		{
			pdVersion,
			"this file is version {1}, this program reads version 1",
			"use a newer program; nothing was changed",
			"该文件为版本 {1}，本程序读取版本 1",
			"请使用更新的程序；未作任何更改",
		},
		{
			pdReference,
			"there is no {1} {2}",
			"use one of {3}, or add it",
			"没有 {1} {2}",
			"可用：{3}，或将其加入",
		},
		{
			pdReferenceNear,
			"there is no {1} {2}",
			"did you mean {3}?",
			"没有 {1} {2}",
			"是否指 {3}？",
		},
		{
			pdModelUnknown,
			"there is no model {1}",
			"bundled are {2}; a model of your own is named by its path, such as ../models/{1}.yaml",
			"没有型号 {1}",
			"内置型号：{2}；自有型号用路径指明，例如 ../models/{1}.yaml",
		},
		{
			pdModelNear,
			"there is no model {1}",
			"did you mean {2}? bundled are {3}",
			"没有型号 {1}",
			"是否指 {2}？内置型号：{3}",
		},
		{
			pdRegisterUnknown,
			"model {2} has no register {1}",
			"use one of {3}",
			"型号 {2} 没有寄存器 {1}",
			"可用：{3}",
		},
		{
			pdRegisterNear,
			"model {3} has no register {1}",
			"did you mean {2}?",
			"型号 {3} 没有寄存器 {1}",
			"是否指 {2}？",
		},
		{
			pdNoModel,
			"device {1} has no model, so register names mean nothing",
			"add model: NAME to the device, or state table, address, type and order",
			"设备 {1} 没有型号，寄存器名称无意义",
			"给设备加 model: 名称，或写明寄存器表、地址、类型和字节序",
		},
		{
			pdRigTwice,
			"rig {1} was read before, from {2}",
			"give each rig a name of its own",
			"台架 {1} 已从 {2} 读入",
			"每个台架使用不同名称",
		},
		{
			pdIDTwice,
			"id {1} belongs to the channel at {2}",
			"give each channel an id of its own",
			"标识 {1} 属于 {2} 的通道",
			"每个通道使用不同标识",
		},
		{
			pdChannelTwice,
			"channel {1} exists already, at {2}",
			"choose another name",
			"通道 {1} 已存在于 {2}",
			"请另选名称",
		},
		{
			pdRigListed,
			"rig {1} is in the list twice",
			"take one away",
			"台架 {1} 在列表中出现两次",
			"删除一处",
		},
		{
			pdNoRigs,
			"no rig is named",
			"write rigs: [FILE, ...]",
			"没有指定台架",
			"写 rigs: [文件, ...]",
		},
		{
			pdNoProtocol,
			"the bus has no address",
			"write modbus: tcp://HOST:502 or mqtt: mqtt://HOST:1883",
			"总线没有地址",
			"写 modbus: tcp://主机:502 或 mqtt: mqtt://主机:1883",
		},
		{
			pdTwoProtocols,
			"a bus is either modbus or mqtt",
			"make two buses of it",
			"一条总线只能是 modbus 或 mqtt",
			"请分成两条总线",
		},
		{
			pdEndpoint,
			`"{1}" is not an address`,
			"write {2}",
			`"{1}" 不是有效地址`,
			"请写 {2}",
		},
		{
			pdScheme,
			"{1}:// is not known here",
			"use one of {2}",
			"此处不识别 {1}://",
			"可用：{2}",
		},
		{
			pdSchemeNear,
			"{1}:// is not known here",
			"write {2}:// (known are {3})",
			"此处不识别 {1}://",
			"请写 {2}://（可用：{3}）",
		},
		{
			pdSecretInURL,
			"the address carries a user or password",
			"take it away; write username and password_file instead",
			"地址中含有用户名或密码",
			"请删除，改用 username 和 password_file",
		},
		{
			pdHost,
			"address {1} names no host",
			"write HOST:PORT after ://",
			"地址 {1} 没有主机",
			"在 :// 后写 主机:端口",
		},
		{
			pdPort,
			"address {1} has no usable port",
			"write a port from 1 to 65535 after the host",
			"地址 {1} 没有可用端口",
			"在主机后写 1 到 65535 的端口",
		},
		{
			pdOnlyMQTT,
			"key {1} belongs to MQTT, this is Modbus",
			"take it away",
			"键 {1} 属于 MQTT，这里是 Modbus",
			"请删除",
		},
		{
			pdOnlyModbus,
			"key {1} belongs to Modbus, this is MQTT",
			"take it away",
			"键 {1} 属于 Modbus，这里是 MQTT",
			"请删除",
		},
		{
			pdInflightRTU,
			"inflight {1} on a serial line: RTU has no transaction numbers",
			"take inflight away; one request at a time is all that the line can do",
			"串行线上 inflight 为 {1}：RTU 没有事务编号",
			"删除 inflight；串行线一次只能有一个请求",
		},
		{
			pdTLSKeys,
			"certificates are stated, but the address is not encrypted",
			"write tls:// or mqtts://, or take the files away",
			"写了证书，但地址未加密",
			"地址改用 tls:// 或 mqtts://，或删除证书文件",
		},
		{
			pdCertAndKey,
			"cert_file and key_file belong together",
			"add the other one",
			"cert_file 和 key_file 必须同时给出",
			"补上另一个",
		},
		{
			pdUnitID,
			"unit {1} cannot be on a serial line",
			"write the device's unit, 1 to 247",
			"串行线上不能有从站号 {1}",
			"写设备的从站号，1 到 247",
		},
		{
			pdUnitTaken,
			"unit {1} on bus {2} belongs to device {3}, at {4}",
			"look at the address switches of both devices; if both names mean one device, make one entry of them",
			"总线 {2} 上从站号 {1} 属于 {4} 的设备 {3}",
			"检查两台设备的地址开关；若是同一设备，请合并",
		},
		{
			pdUnitsWithoutModel,
			"units are set for registers of a model, and this device has none",
			"add model: NAME, or state register_unit at the channels",
			"units 针对型号的寄存器，而该设备没有型号",
			"加 model: 名称，或在通道写 register_unit",
		},
		{
			pdGroupEmpty,
			"the group has no channels",
			"give it channels or take it away",
			"该组没有通道",
			"加入通道或删除该组",
		},
		{
			pdGroupBuses,
			"group {1} is on bus {2}, this channel is on bus {3}",
			"a group lives on one bus: put the channel into a group of bus {3}",
			"组 {1} 在总线 {2} 上，而该通道在总线 {3} 上",
			"一个组只能在一条总线上：把该通道放到总线 {3} 的组",
		},
		{
			pdGroupNoBus,
			"nothing says which bus the group is on",
			"add bus: NAME",
			"没有说明该组在哪条总线上",
			"加 bus: 名称",
		},
		{
			pdOurMeasurement,
			"measurements that begin with pneudaq_ are ours: {1}",
			"choose another name",
			"以 pneudaq_ 开头的测量名为系统保留：{1}",
			"请另选名称",
		},
		{
			pdOurTag,
			"tag {1} is ours",
			"choose another name",
			"标签 {1} 为系统保留",
			"请另选名称",
		},
		{
			pdPhase,
			"phase {1} is not less than the period {2}",
			"write a phase below the period",
			"相位 {1} 不小于周期 {2}",
			"相位应小于周期",
		},
		{
			pdZone,
			"time zone {1} is not known",
			"write it as Asia/Shanghai or Europe/Berlin",
			"时区 {1} 未知",
			"写成 Asia/Shanghai 或 Europe/Berlin",
		},
		{
			pdNoOrigin,
			"nothing says where the value comes from",
			"state device and register, or device, table and address, or topic and field, or borrow",
			"没有说明数值来源",
			"写 device 和 register，或 device、寄存器表和地址，或 topic 和 field，或 borrow",
		},
		{
			pdNoAddress,
			"the register has no address",
			"add one of coil, discrete, input, holding with the address",
			"寄存器没有地址",
			"加 coil、discrete、input、holding 之一及地址",
		},
		{
			pdTwoAddresses,
			"{1} and {2} are both given",
			"keep one of them",
			"同时给出了 {1} 和 {2}",
			"只保留一个",
		},
		{
			pdBelowBase,
			"address 0 does not exist where the first register is number 1",
			"check address_base ({1}), and whether the manual counts from 0 or 1",
			"首个寄存器编号为 1 时不存在地址 0",
			"检查 address_base（{1}），以及手册从 0 还是 1 计数",
		},
		{
			pdBeyondTable,
			"the value at address {1} reaches beyond the last register",
			"check address and type",
			"地址 {1} 的数值超出最后一个寄存器",
			"检查地址和类型",
		},
		{
			pdBitTable,
			"table {1} holds single bits, they cannot be {2}",
			"write type: bool, or use holding or input",
			"{1} 只有一位，不能是 {2}",
			"写 type: bool，或使用 holding 或 input",
		},
		{
			pdBitScale,
			"a bit has no scale, offset or register_unit",
			"take it away",
			"位没有 scale、offset 或 register_unit",
			"请删除",
		},
		{
			pdBitRange,
			"bit {1} with width {2} does not fit into {3} bits",
			"write a bit that fits",
			"从第 {1} 位起宽 {2} 位超出 {3} 位",
			"请写合适的位",
		},
		{
			pdBitsMissing,
			"bit is given, but the type is a number",
			"add bits: WIDTH for a field of bits, or write type: bool for one bit",
			"给出了 bit，但类型是数值",
			"位段请加 bits: 宽度，单个位请写 type: bool",
		},
		{
			pdOrderLetters,
			"order {1} is for one register, the type takes {2}",
			"write ABCD, CDAB, BADC or DCBA, as the bytes arrive",
			"字节序 {1} 用于一个寄存器，而该类型占 {2} 个",
			"按到达顺序写 ABCD、CDAB、BADC 或 DCBA",
		},
		{
			pdOrderMissing,
			"{1} takes several registers and the order is not stated",
			"add order: ABCD (high word first) or CDAB (low word first), as the manual says",
			"{1} 占多个寄存器，但没有写字节序",
			"按手册加 order: ABCD（高字在前）或 CDAB（低字在前）",
		},
		{
			pdScaleZero,
			"a scale of 0 makes every value 0",
			"write the factor of the manual, or take scale away",
			"scale 为 0 会使所有值为 0",
			"写手册中的系数，或删除 scale",
		},
		{
			pdSentinelBits,
			`"{1}" is not a pattern of {2} bits`,
			"write the bits as 0x7FFF",
			`"{1}" 不是 {2} 位的位型`,
			"写成 0x7FFF",
		},
		{
			pdReason,
			`reason "{1}" is not known`,
			"write one of {2}",
			`原因"{1}"未知`,
			"可选：{2}",
		},
		{
			pdReasonNear,
			`reason "{1}" is not known`,
			"write {2}",
			`原因"{1}"未知`,
			"请写 {2}",
		},
		{
			pdRange,
			"range {1} to {2} is empty",
			"write the smaller number first",
			"范围 {1} 到 {2} 为空",
			"小的数在前",
		},
		{
			pdReadOnlyTable,
			"registers of table {1} cannot be written",
			"use coil or holding, or take writable away",
			"表 {1} 的寄存器不能写入",
			"使用 coil 或 holding，或删除 writable",
		},
		{
			pdNotWritable,
			"only a coil or holding register can be written",
			"take writable away",
			"只有线圈或保持寄存器可写",
			"删除 writable",
		},
		{
			pdTextRegister,
			"register {1} holds text, a channel is a number",
			"choose another register",
			"寄存器 {1} 是文本，通道必须是数值",
			"请选择其他寄存器",
		},
		{
			pdRegisterOnMQTT,
			"device {1} is on the broker {2}: it has topics, no registers",
			"state topic and field",
			"设备 {1} 在消息代理 {2} 上：有主题，没有寄存器",
			"写 topic 和 field",
		},
		{
			pdNoTopic,
			"neither the channel nor group {1} names a topic",
			"add topics: [...] to the group or topic: to the channel",
			"通道和组 {1} 都没有主题",
			"给组加 topics: [...]，或给通道加 topic:",
		},
		{
			pdBorrowForm,
			`"{1}" does not say which channel is borrowed`,
			"write borrow: RIG/CHANNEL",
			`"{1}" 没有说明借用哪个通道`,
			"写 borrow: 台架/通道",
		},
		{
			pdBorrowSelf,
			"channel {1} is a channel of this rig, there is nothing to borrow",
			"use a derived channel",
			"通道 {1} 就在本台架上，无需借用",
			"使用派生通道",
		},
		{
			pdLenderRig,
			"rig {1}, which the value is borrowed from, is not among those read: {2}",
			"name its file too, else the channel stays without values",
			"借出数值的台架 {1} 不在已读入的台架中：{2}",
			"同时指定其文件，否则该通道没有数值",
		},
		{
			pdLenderChannel,
			"rig {1} has no channel {2}",
			"use {3}",
			"台架 {1} 没有通道 {2}",
			"可用：{3}",
		},
		{
			pdOnlyFIFO,
			"element belongs to a queue (fifo:)",
			"take it away, or write fifo: with the pointer address",
			"element 仅用于队列（fifo:）",
			"删除，或写 fifo: 及指针地址",
		},
		{
			pdUnit,
			`unit "{1}" is not known`,
			"write a unit of the table, for example kPa_a, degC, L/min_ANR",
			`单位"{1}"未知`,
			"写单位表中的单位，例如 kPa_a、degC、L/min_ANR",
		},
		{
			pdUnitNear,
			`unit "{1}" is not known`,
			"write {2}",
			`单位"{1}"未知`,
			"请写 {2}",
		},
		{
			pdDimension,
			"the register has {1} ({2}), the channel {3} ({4}): no factor leads from one to the other",
			"write {5}",
			"寄存器单位为 {1}（{2}），通道单位为 {3}（{4}）：两者之间没有换算系数",
			"请写 {5}",
		},
		{
			pdUnitOpen,
			"the unit of register {1} is set on the device, and model {2} cannot know it",
			"add to device {3}: units: { {1}: {4} }, as set on the device",
			"寄存器 {1} 的单位在设备上设定，型号 {2} 无法得知",
			"按设备上的设定给设备 {3} 加 units: { {1}: {4} }",
		},
		{
			pdAccuracyUnit,
			"accuracy in {1} ({2}) of a channel in {3} ({4})",
			"write the accuracy in a unit of the channel's kind",
			"准确度单位 {1}（{2}）与通道单位 {3}（{4}）不符",
			"用与通道同类的单位书写准确度",
		},
		{
			pdModelBase,
			"address_base {1} contradicts model {2}, which counts from {3}",
			"take address_base away: the model states it",
			"address_base {1} 与型号 {2} 不符，后者从 {3} 计数",
			"删除 address_base：型号已说明",
		},
		{
			pdModelUnit,
			"unit {1} cannot be set on register {2}",
			"the model allows {3}",
			"寄存器 {2} 不能设为单位 {1}",
			"型号允许：{3}",
		},
		{
			pdModelSays,
			"{1} is stated beside register {2}, whose model says it",
			"take {1} away, or state everything and leave register away",
			"{1} 与寄存器 {2} 同时给出，而型号已说明",
			"删除 {1}，或全部写明并删除 register",
		},
		{
			pdModelType,
			"type {1} contradicts model {2}: register {3} is {4}",
			"write type: {4}, or check the address",
			"类型 {1} 与型号 {2} 不符：寄存器 {3} 为 {4}",
			"写 type: {4}，或检查地址",
		},
		{
			pdModelOrder,
			"order {1} contradicts model {2}: register {3} arrives as {4}",
			"write order: {4}",
			"字节序 {1} 与型号 {2} 不符：寄存器 {3} 为 {4}",
			"写 order: {4}",
		},
		{
			pdModelTable,
			"table {1} stands here, but model {2} has register {3} among the {4} registers",
			"write {4}: in place of {1}:",
			"此处为表 {1}，而型号 {2} 的寄存器 {3} 在 {4} 表中",
			"把 {1}: 改为 {4}:",
		},
		{
			pdModelInside,
			"model {2} has no value at {1}; register {3} begins at {4}",
			"write {4} if {3} is meant; check whether the manual counts from 0 or 1",
			"型号 {2} 在 {1} 处没有数值；寄存器 {3} 起始于 {4}",
			"若指 {3}，请写 {4}；并检查手册从 0 还是 1 计数",
		},
		{
			pdModelAbsent,
			"{1} {2} is not among the registers of model {3}, so nothing can be compared",
			"check the address against the manual",
			"{1} {2} 不在型号 {3} 的寄存器中，无法比对",
			"对照手册检查地址",
		},
		{
			pdModelUnitStated,
			"the channel takes the register's number for {1}, but register {2} of device {3} has {4}",
			"write register_unit: {4}",
			"通道把寄存器数值当作 {1}，但设备 {3} 的寄存器 {2} 为 {4}",
			"写 register_unit: {4}",
		},
		{
			pdModelScale,
			"scale {1} and offset {2} contradict register {3}, which has scale {4} and offset {5}",
			"write scale: {4} and offset: {5}, or leave out what is 1 and 0",
			"scale {1} 和 offset {2} 与寄存器 {3} 的 scale {4} 和 offset {5} 不符",
			"写 scale: {4} 和 offset: {5}，为 1 和 0 时可省略",
		},
		{
			pdModelReadOnly,
			"register {1} cannot be written",
			"take writable away, or name the setpoint's register",
			"寄存器 {1} 不能写入",
			"删除 writable，或指定设定值寄存器",
		},
		{
			pdSameRegister,
			"it reads the same bits as channel {1} at {2}",
			"check the address of both",
			"与 {2} 的通道 {1} 读取相同的位",
			"检查两者的地址",
		},
		{
			pdOverlap,
			"register {1} shares words with register {2}",
			"check both addresses and types against the document",
			"寄存器 {1} 与寄存器 {2} 重叠",
			"对照文档检查两者的地址和类型",
		},
		{
			pdValueOrReason,
			"a vector has either a value or a reason why it is none",
			"write one of them",
			"向量要么有 value，要么有 reason",
			"只写其中一个",
		},
		{
			pdRawLength,
			"{1} bytes, the register has {2}",
			"write all bytes of the register, as they travel",
			"{1} 个字节，而寄存器有 {2} 个",
			"按传输顺序写出寄存器的全部字节",
		},
		{
			pdVector,
			"the bytes {1} read as {2}, the document says {3}",
			"correct type, order, scale or the vector",
			"字节 {1} 读出为 {2}，文档为 {3}",
			"更正类型、字节序、比例或该向量",
		},
		{
			pdExpression,
			"{1}",
			"correct the expression",
			"表达式有误：{1}",
			"更正表达式",
		},
		{
			pdOtherGroup,
			"channel {1} is in group {2}, the expression is in group {3}",
			"put the channels that belong together into one group",
			"通道 {1} 在组 {2}，而表达式在组 {3}",
			"把相关通道放在同一组",
		},
		{
			pdDerivedOfDerived,
			"{1} is itself computed",
			"write its expression in place of the name",
			"{1} 本身就是计算得到的",
			"用它的表达式代替名称",
		},
		{
			pdNoSafeState,
			"do: safe needs a safe state",
			"add safe: { CHANNEL: VALUE }",
			"do: safe 需要安全状态",
			"加 safe: { 通道: 值 }",
		},
		{
			pdNoHeartbeat,
			"the channel is writable, but nothing makes the rig safe when this program dies",
			"add heartbeat: { channel: ..., period: ... }, or watchdog: true to the device if it falls to safe outputs by itself",
			"该通道可写，但本程序停止时没有机制使台架安全",
			"加 heartbeat: { channel: ..., period: ... }；若设备自身会回到安全输出，给设备加 watchdog: true",
		},
		{
			pdSafeReadOnly,
			"channel {1} is not writable",
			"add writable: true to the channel or take it out here",
			"通道 {1} 不可写",
			"给通道加 writable: true，或从此处删除",
		},
		{
			pdSafeRange,
			"{1} is outside the range {2} to {3} {4} of the channel",
			"write a value within it",
			"{1} 超出通道范围 {2} 到 {3} {4}",
			"写范围内的值",
		},
		{
			pdNotInSafe,
			"writable channel {1} and the rig has no safe state",
			"add safe: { {1}: VALUE } with what makes the rig harmless",
			"通道 {1} 可写，但台架没有安全状态",
			"加 safe: { {1}: 值 }，写使台架无害的值",
		},
		{
			pdInstrumentMissing,
			"there is no file for instrument {1}",
			"write instruments/{1}.yaml beside the rigs directory, or name its path",
			"没有仪器 {1} 的文件",
			"在 rigs 目录旁写 instruments/{1}.yaml，或写明路径",
		},
		{
			pdInstrumentUnit,
			"instrument {1} measures in {2}, the channel is in {3}",
			"check the serial number",
			"仪器 {1} 的单位为 {2}，通道为 {3}",
			"检查序列号",
		},
		{
			pdCertificateDates,
			"the certificate ends on {1}, before its date {2}",
			"exchange or correct the dates",
			"证书有效期至 {1}，早于校准日期 {2}",
			"更正日期",
		},
		{
			pdCertificateOrder,
			"this certificate is older than the one before it",
			"list them oldest first",
			"该证书早于前一个",
			"按从旧到新排列",
		},
		{
			pdPointOrder,
			"point {1} follows {2}",
			"list the points by rising reference",
			"点 {1} 排在 {2} 之后",
			"按参考值递增排列",
		},
		{
			pdCertificateExpired,
			"the certificate of instrument {1} ended on {2}",
			"have it calibrated; results are marked until then",
			"仪器 {1} 的证书已于 {2} 到期",
			"请送校；此前的结果会被标注",
		},
		{
			pdNoCertificate,
			"instrument {1} has no certificate in force",
			"add its certificate; results are marked indicative until then",
			"仪器 {1} 没有有效证书",
			"加入证书；此前的结果标为参考值",
		},
		{
			pdTwinSignal,
			"the plant has no signal {1}",
			"use one of {2}",
			"被控对象没有信号 {1}",
			"可用：{2}",
		},
		{
			pdTwinSignalNear,
			"the plant has no signal {1}",
			"did you mean {2}?",
			"被控对象没有信号 {1}",
			"是否指 {2}？",
		},
		{
			pdTwinParam,
			"the plant does not take this value of {1}: {2}",
			"correct the value",
			"被控对象不接受 {1} 的值：{2}",
			"更正该值",
		},
		{
			pdTwinParamName,
			"the plant has no parameter {1}",
			"write {2}",
			"被控对象没有参数 {1}",
			"请写 {2}",
		},
		{
			pdTwinNoWire,
			"device {1} has no model, so nothing says what its twin puts on the wire",
			"add wire: PATH to the twin's device",
			"设备 {1} 没有型号，孪生设备的寄存器未知",
			"给孪生设备加 wire: 路径",
		},
		{
			pdTwinBroker,
			"{1} is not a broker's bus",
			"name a bus with mqtt:",
			"{1} 不是消息代理总线",
			"指定带 mqtt: 的总线",
		},
		{
			pdTwinUnit,
			"the simulator knows no unit {1}, or it does not fit the signal: {2}",
			"write another unit in the wire file",
			"模拟器不支持单位 {1}，或与信号不符：{2}",
			"在 wire 文件中写其他单位",
		},
		{
			pdTwinOptions,
			"the twin refuses what the files say: {1}",
			"correct the wire file or the section simulate",
			"孪生系统拒绝文件内容：{1}",
			"更正 wire 文件或 simulate 部分",
		},
		{
			pdTwinMissing,
			"no signal stands behind the device: a twin answers only constants",
			"add it under simulate: devices",
			"该设备后面没有信号：孪生设备只返回常数",
			"在 simulate: devices 下加入",
		},
		{
			pdPlan,
			"the plan needs {1} % of the bus's time ({2})",
			"lengthen periods, take channels away, raise inflight or spread the devices over several buses",
			"计划需要总线 {1} % 的时间（{2}）",
			"加长周期、增大 inflight 或把设备分到多条总线",
		},
		{
			pdPlanHigh,
			"bus {1} is busy {2} % of the time: one slow answer and slots are lost",
			"lengthen periods or shorten the timeout",
			"总线 {1} 占用 {2} %：一次慢应答就会丢失时刻",
			"加长周期或缩短超时",
		},
		{
			pdBus,
			"{1}",
			"correct the bus or the channels that it names",
			"配置不能使用：{1}",
			"更正总线或相关通道",
		},
		{
			pdSecretFile,
			"the file that {1} names cannot be read: {2}",
			"create it with the secret on its first line, readable for the service only",
			"{1} 指明的文件无法读取：{2}",
			"创建该文件，首行写密码，仅服务可读",
		},
		{
			pdCertificates,
			"the certificate file cannot be used: {1}",
			"check path and contents: PEM, certificate and key of a pair",
			"证书文件不能使用：{1}",
			"检查路径和内容：PEM 格式，证书与密钥成对",
		},
		{
			pdNoURL,
			"influx has no url: nothing is delivered",
			"add url: or set {1}",
			"influx 没有 url：不会投递数据",
			"加 url: 或设置 {1}",
		},
		{
			pdUnusedBus,
			"nothing uses the bus",
			"take it away or give it devices",
			"没有使用该总线",
			"删除或加入设备",
		},
		{
			pdUnusedDevice,
			"no channel uses the device",
			"take it away or give it channels",
			"没有通道使用该设备",
			"删除或加入通道",
		},
		{
			pdStoreSize,
			"the store fills its {1} in {2} days, before the {3} days that it is to keep",
			"raise size: or lower days:",
			"存储在 {2} 天内写满 {1}，早于要求保留的 {3} 天",
			"增大 size: 或减小 days:",
		},
		{
			pdEntity,
			"{1} looks like an entity number: its wire address is {2} of the {3} registers",
			"write {3}: {2} with address_base 0, if the manual numbers its registers as 4xxxx",
			"{1} 像是实体编号：其线上地址为 {3} 寄存器的 {2}",
			"若手册按 4xxxx 编号，请写 {3}: {2} 且 address_base 为 0",
		},
		{
			pdTableHead,
			"the table has no column {1}",
			"the first row names the columns: {2}",
			"表格没有列 {1}",
			"首行为列名：{2}",
		},
		{
			pdTableCell,
			`column {1}: "{2}" cannot be read`,
			"write {3}",
			`列 {1}："{2}" 无法识别`,
			"请写 {3}",
		},
		{
			pdTableEmpty,
			"the table has no rows",
			"add a row for each register",
			"表格没有数据行",
			"每个寄存器写一行",
		},
		{
			pdTableFormat,
			"this is neither CSV nor .xlsx: {1}",
			"save it as .xlsx or as CSV (UTF-8 or GBK)",
			"既不是 CSV 也不是 .xlsx：{1}",
			"保存为 .xlsx 或 CSV（UTF-8 或 GBK）",
		},
		{
			pdTableTwice,
			"{1} stands in row {2} already",
			"keep one of the two rows",
			"{1} 已在第 {2} 行出现",
			"只保留一行",
		},
	}
}
