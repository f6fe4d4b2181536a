package configs

import "time"

// The file structures. Tags: yaml is the key, doc what a person reads in the
// schema, oneof, min, max, len what is accepted, required what must be there,
// subject what a problem inside is about, names the rule for names.

// rigFile is one physical test stand.
type rigFile struct {
	Version     value[int]              `yaml:"version" required:"" min:"1" max:"1" doc:"version of the file format, 1"`
	Rig         value[string]           `yaml:"rig" required:"" doc:"name of the rig; tag rig in the database"`
	Site        value[string]           `yaml:"site" doc:"where the rig is; tag site in the database"`
	Description value[string]           `yaml:"description" doc:"for people"`
	Measurement value[string]           `yaml:"measurement" doc:"measurement in the database of groups that state none, default pneumatics"`
	Buses       entries[busFile]        `yaml:"buses" subject:"bus" doc:"connections: a Modbus endpoint or a broker each"`
	Devices     entries[deviceFile]     `yaml:"devices" subject:"device" doc:"devices on the buses"`
	Groups      entries[groupFile]      `yaml:"groups" required:"" subject:"group" doc:"channels acquired together"`
	Channels    entries[channelFile]    `yaml:"channels" required:"" subject:"channel" names:"field" doc:"named quantities of the rig"`
	Derived     entries[derivedFile]    `yaml:"derived" subject:"channel" names:"field" doc:"channels computed from others of their group"`
	Limits      entries[limitFile]      `yaml:"limits" subject:"limit" doc:"conditions that are watched while the rig is acquired"`
	Safe        entries[value[float64]] `yaml:"safe" subject:"safe state" names:"any" doc:"setpoints that make the rig harmless, by channel"`
	Heartbeat   section[heartbeatFile]  `yaml:"heartbeat" doc:"sign of life written to the rig while it is armed"`
	Recording   section[recordingFile]  `yaml:"recording" doc:"while a recording is open"`
	Store       section[storeFile]      `yaml:"store" doc:"how long the record is kept on this machine"`
	Influx      section[influxFile]     `yaml:"influx" doc:"where the record is delivered to"`
	Simulate    section[simulateFile]   `yaml:"simulate" doc:"which plant and which signals stand behind the devices of the twin"`
}

type busFile struct {
	Modbus       value[string]        `yaml:"modbus" doc:"tcp://host:port, tls://host:port, rtu+tcp://host:port or rtu:///dev/ttyUSB0?baud=19200&parity=E&stop=1"`
	MQTT         value[string]        `yaml:"mqtt" doc:"mqtt://host:port or mqtts://host:port"`
	Broker       value[string]        `yaml:"broker" oneof:"embedded,external" doc:"embedded: the service runs the broker itself at this address"`
	Timeout      value[time.Duration] `yaml:"timeout" min:"1ms" max:"1m" doc:"of one request, default 500ms"`
	Retries      value[int]           `yaml:"retries" min:"0" max:"10" doc:"repeats of a request within its slot, default 0"`
	Inflight     value[int]           `yaml:"inflight" min:"1" max:"64" doc:"outstanding requests, TCP and TLS only, default 1"`
	Pause        value[time.Duration] `yaml:"pause" max:"10s" doc:"least time between requests"`
	Answer       value[time.Duration] `yaml:"answer" max:"10s" doc:"what a device takes to answer, for the load figure, default 0.1ms on TCP, 1ms on lines"`
	Late         value[time.Duration] `yaml:"late" max:"1m" doc:"RTU: how long after its timeout an answer may still come"`
	GapLimit     value[int]           `yaml:"gap_limit" min:"0" max:"120" doc:"registers read in vain to join two requests, default 8"`
	ClientID     value[string]        `yaml:"client_id" doc:"fixed and unique at the broker, default pneudaq-RIG-BUS"`
	Username     value[string]        `yaml:"username" doc:"at the broker"`
	PasswordFile value[string]        `yaml:"password_file" doc:"file that holds the password, alone on its first line"`
	CAFile       value[string]        `yaml:"ca_file" doc:"certificates that the other side is checked by, PEM"`
	CertFile     value[string]        `yaml:"cert_file" doc:"our certificate, PEM"`
	KeyFile      value[string]        `yaml:"key_file" doc:"key of our certificate, PEM"`
	ServerName   value[string]        `yaml:"server_name" doc:"name that the other side's certificate must carry, default the host"`
	KeepAlive    value[time.Duration] `yaml:"keep_alive" min:"1s" max:"1h" doc:"MQTT keep-alive, default 10s"`
	Window       value[int]           `yaml:"window" min:"1" max:"65535" doc:"messages that the broker sends without an acknowledgement, default 20"`
	MaxPacket    value[size]          `yaml:"max_packet" doc:"largest MQTT packet taken, default 1MiB"`
	MaxTopics    value[int]           `yaml:"max_topics" min:"1" doc:"distinct topics taken, default 1000"`
}

type deviceFile struct {
	Bus         value[string]          `yaml:"bus" required:"" doc:"name of its bus"`
	Unit        value[int]             `yaml:"unit" min:"0" max:"255" doc:"Modbus unit id, default 1"`
	Model       value[string]          `yaml:"model" doc:"name of its model, or path of a model file"`
	AddressBase value[int]             `yaml:"address_base" min:"0" max:"1" doc:"0: addresses as on the wire; 1: the first register is number 1. A model states its own"`
	Units       entries[value[string]] `yaml:"units" names:"any" doc:"units as set on the device, by register, where the model leaves them open"`
	MaxRead     value[int]             `yaml:"max_read" min:"1" max:"125" doc:"registers of one request at most"`
	ValidStarts many[address]          `yaml:"valid_starts" doc:"the only addresses at which a request may begin"`
	Pause       value[time.Duration]   `yaml:"pause" max:"10s" doc:"least time between requests to this device"`
	Timeout     value[time.Duration]   `yaml:"timeout" min:"1ms" max:"1m" doc:"of one request to this device, default the bus's"`
	Answer      value[time.Duration]   `yaml:"answer" max:"10s" doc:"what it takes to answer, for the load figure"`
	Quarantine  value[int]             `yaml:"quarantine" min:"-1" max:"1000" doc:"timeouts in a row until it is asked less often, default 3, -1 never"`
	OnlyFC16    value[bool]            `yaml:"only_fc16" doc:"true: it knows function 16 but not 6"`
	Identity    value[bool]            `yaml:"identity" doc:"false: do not check the model's constants after connecting, default true"`
	Watchdog    value[bool]            `yaml:"watchdog" doc:"true: the device falls to its safe outputs by itself when it is not spoken to"`
	Serial      value[string]          `yaml:"serial" doc:"serial number of the device, for people"`
	Topic       value[string]          `yaml:"topic" doc:"what {device} stands for in topics, default the name of the device"`
}

type groupFile struct {
	Period      value[time.Duration]   `yaml:"period" min:"100us" max:"24h" doc:"distance of scans; for bursts the distance of samples"`
	Phase       value[time.Duration]   `yaml:"phase" doc:"shift of the schedule"`
	Bus         value[string]          `yaml:"bus" doc:"needed only if the group has no channel of a device"`
	Device      value[string]          `yaml:"device" doc:"the device that publishes the group"`
	Duty        value[float64]         `yaml:"duty" min:"0" max:"1" doc:"share of the time that bursts take, for the estimate of the store"`
	Measurement value[string]          `yaml:"measurement" doc:"measurement in the database"`
	Tags        entries[value[string]] `yaml:"tags" doc:"further tags in the database; few values, no run numbers"`
	ExpectEvery value[time.Duration]   `yaml:"expect_every" doc:"silence longer than this is a gap"`
	Topics      many[string]           `yaml:"topics" doc:"topics of the group, with {device}, + and #"`
	Payload     section[payloadFile]   `yaml:"payload" doc:"how a message is written"`
	Sequence    section[sequenceFile]  `yaml:"sequence" doc:"the number by which the device counts messages or samples"`
	Time        section[timeFile]      `yaml:"time" doc:"the time that the device states"`
	Presence    section[presenceFile]  `yaml:"presence" doc:"where the device's last will tells that it is gone"`
	QoS         value[int]             `yaml:"qos" min:"0" max:"1" doc:"quality of service, default 1; 0: lost messages stay lost"`
	Order       value[int]             `yaml:"order" min:"-1" max:"1000" doc:"messages that may wait for one that is out of order"`
	Hold        value[time.Duration]   `yaml:"hold" doc:"how long they wait at most"`
	Join        value[time.Duration]   `yaml:"join" doc:"how far the parts of one scan may be apart"`
	Skew        value[time.Duration]   `yaml:"skew" doc:"device clock off by more than this is reported"`
	MaxAge      value[time.Duration]   `yaml:"max_age" doc:"device time further off than this is refused"`
}

type presenceFile struct {
	Topic   value[string] `yaml:"topic" required:"" doc:"topic, with {device}"`
	Offline value[string] `yaml:"offline" required:"" doc:"payload that means gone"`
}

type payloadFile struct {
	Format       value[string]       `yaml:"format" required:"" oneof:"number,json,name_value,arrays,rows,line_protocol,csv,binary,sparkplug_b" doc:"format of the payload"`
	Root         value[string]       `yaml:"root" doc:"path to what the fields are relative to"`
	NameKey      value[string]       `yaml:"name_key" doc:"name_value: key of the name"`
	ValueKey     value[string]       `yaml:"value_key" doc:"name_value: key of the value"`
	Separator    value[string]       `yaml:"separator" doc:"csv: one character, default comma"`
	Header       value[bool]         `yaml:"header" doc:"csv: the first line names the columns"`
	DecimalComma value[bool]         `yaml:"decimal_comma" doc:"csv and number: 12,5 is twelve and a half"`
	Layout       section[layoutFile] `yaml:"layout" doc:"binary: how the burst is laid out"`
}

type layoutFile struct {
	Endian value[string]     `yaml:"endian" oneof:"big,little" doc:"order of bytes, default big"`
	Header value[int]        `yaml:"header" min:"0" max:"4096" doc:"bytes before the first sample"`
	Magic  value[octets]     `yaml:"magic" doc:"bytes that every payload begins with"`
	Seq    section[itemFile] `yaml:"seq" doc:"the number of the message or of its first sample"`
	T0     section[itemFile] `yaml:"t0" doc:"device time of the first sample"`
	Dt     section[itemFile] `yaml:"dt" doc:"distance of samples"`
	Count  section[itemFile] `yaml:"count" doc:"samples of each channel"`
	Width  section[itemFile] `yaml:"width" doc:"channels of the payload, compared with channels"`
	Number value[int]        `yaml:"channels" min:"1" max:"256" doc:"channels in the payload, default those of the group"`
	Planar value[bool]       `yaml:"planar" doc:"all samples of one channel, then those of the next"`
	Sample value[string]     `yaml:"sample" required:"" oneof:"int8,uint8,int16,uint16,int32,uint32,int64,uint64,float16,float32,float64" doc:"type of a sample"`
}

type itemFile struct {
	At    value[int]  `yaml:"at" required:"" min:"0" max:"4096" doc:"first byte"`
	Size  value[int]  `yaml:"size" required:"" oneof:"1,2,4,8" min:"1" max:"8" doc:"bytes: 1, 2, 4 or 8"`
	Float value[bool] `yaml:"float" doc:"IEEE 754, size 4 or 8"`
}

type sequenceFile struct {
	Field         value[string] `yaml:"field" doc:"where the number is in the payload"`
	Bits          value[int]    `yaml:"bits" oneof:"8,16,32" doc:"the number starts again after this many bits"`
	Samples       value[int]    `yaml:"samples" min:"1" doc:"samples of one message, for numbers that count messages"`
	CountsSamples value[bool]   `yaml:"counts_samples" doc:"the number is that of the message's first sample"`
	Clock         value[bool]   `yaml:"clock" doc:"slots come from the sample clock, there is no number"`
}

type timeFile struct {
	Field    value[string] `yaml:"field" doc:"where the time is in the payload"`
	Unit     value[string] `yaml:"unit" oneof:"s,ms,us,ns,rfc3339,text" doc:"how the time is written"`
	Layout   value[string] `yaml:"layout" doc:"unit text: the moment 2006-01-02 15:04:05 as the device would write it"`
	Zone     value[string] `yaml:"zone" doc:"time zone of a time without offset, for example Asia/Shanghai"`
	Step     value[string] `yaml:"step" doc:"where the distance of samples is"`
	StepUnit value[string] `yaml:"step_unit" oneof:"s,ms,us,ns" doc:"unit of the distance"`
	Basis    value[string] `yaml:"basis" oneof:"auto,device,fitted,arrival" doc:"what a sample's time is, default auto"`
}

type channelFile struct {
	Group        value[string]           `yaml:"group" required:"" doc:"name of its group"`
	Device       value[string]           `yaml:"device" doc:"name of its device"`
	Register     value[string]           `yaml:"register" doc:"name of the model's register, instead of table, address, type and order"`
	Coil         value[address]          `yaml:"coil" doc:"address of the coil, in the device's base"`
	Discrete     value[address]          `yaml:"discrete" doc:"address of the discrete input"`
	Input        value[address]          `yaml:"input" doc:"address of the first input register"`
	Holding      value[address]          `yaml:"holding" doc:"address of the first holding register"`
	FIFO         value[address]          `yaml:"fifo" doc:"pointer address of the queue (function 24)"`
	Type         value[string]           `yaml:"type" oneof:"bool,int8,uint8,int16,uint16,int32,uint32,int64,uint64,float16,float32,float64,bcd16,bcd32" doc:"how the bits are read"`
	Order        value[string]           `yaml:"order" oneof:"ABCD,CDAB,BADC,DCBA,AB,BA" doc:"order of bytes as they arrive; ABCD is high word and high byte first"`
	Bit          value[int]              `yaml:"bit" min:"0" max:"63" doc:"lowest bit of a bit field, or the bit of a bool in a register"`
	Bits         value[int]              `yaml:"bits" min:"1" max:"63" doc:"width of a bit field"`
	Scale        value[float64]          `yaml:"scale" doc:"value = number · scale + offset"`
	Offset       value[float64]          `yaml:"offset" doc:"value = number · scale + offset"`
	RegisterUnit value[string]           `yaml:"register_unit" doc:"unit of number · scale + offset, if it is not the channel's"`
	DecimalsFrom value[address]          `yaml:"decimals_from" doc:"address of the register that holds the number of decimals, in the same table"`
	Sentinels    entries[value[string]]  `yaml:"sentinels" names:"any" doc:"bits that stand for no value, with the reason"`
	Element      value[int]              `yaml:"element" min:"0" max:"30" doc:"fifo: the register of the queue that the value begins in, the oldest being 0"`
	Atomic       value[string]           `yaml:"atomic" doc:"channels with the same word are read in one request"`
	Topic        value[string]           `yaml:"topic" doc:"topic of its own"`
	Field        value[string]           `yaml:"field" doc:"where the value is in the payload"`
	Texts        entries[value[float64]] `yaml:"texts" names:"any" doc:"payload words that stand for numbers, such as ON: 1"`
	Borrow       value[string]           `yaml:"borrow" doc:"channel of another rig, as RIG/CHANNEL"`
	Unit         value[string]           `yaml:"unit" doc:"unit of the channel: kPa_a is absolute, kPa_g gauge, L/min_ANR at the reference of ISO 8778"`
	Range        many[float64]           `yaml:"range" len:"2" doc:"plausible range in the channel's unit"`
	Accuracy     value[accuracy]         `yaml:"accuracy" doc:"half width of the error where there is no certificate"`
	Instrument   value[string]           `yaml:"instrument" doc:"serial number or path of the instrument file that holds its certificate"`
	Writable     value[bool]             `yaml:"writable" doc:"true: a setpoint, written when the rig is armed"`
	DisplayOnly  value[bool]             `yaml:"display_only" doc:"true: no verdict may use it"`
	MaxAge       value[time.Duration]    `yaml:"max_age" doc:"borrowed: older values are uncertain, default ten periods of the group"`
	ID           value[string]           `yaml:"id" doc:"identity that stays when the name changes, default RIG/NAME"`
	Description  value[string]           `yaml:"description" doc:"for people"`
}

type derivedFile struct {
	Expr        value[string]   `yaml:"expr" required:"" doc:"expression over the channels of the group: + - * / % **, comparisons, abs min max sqrt exp log pow mean"`
	Group       value[string]   `yaml:"group" required:"" doc:"name of the group whose channels it uses"`
	Unit        value[string]   `yaml:"unit" doc:"unit of the result"`
	Range       many[float64]   `yaml:"range" len:"2" doc:"plausible range in the unit"`
	Accuracy    value[accuracy] `yaml:"accuracy" doc:"half width of the error"`
	ID          value[string]   `yaml:"id" doc:"identity that stays when the name changes, default RIG/NAME"`
	Description value[string]   `yaml:"description" doc:"for people"`
}

type limitFile struct {
	When  value[string]        `yaml:"when" required:"" doc:"condition over the channels of one group, for example p1 > 900"`
	Group value[string]        `yaml:"group" required:"" doc:"name of the group whose channels it uses"`
	For   value[time.Duration] `yaml:"for" doc:"how long the condition must hold, default at once"`
	Do    value[string]        `yaml:"do" oneof:"warn,stop,safe" doc:"warn: an event; stop: the run ends; safe: the safe state is written too; default warn"`
	Text  value[string]        `yaml:"text" doc:"what the operator reads"`
}

type heartbeatFile struct {
	Channel value[string]        `yaml:"channel" required:"" doc:"writable channel that is counted up"`
	Period  value[time.Duration] `yaml:"period" required:"" min:"10ms" max:"1m" doc:"time between beats"`
}

type recordingFile struct {
	Tick value[time.Duration] `yaml:"tick" min:"10ms" max:"1s" doc:"commit this often while a recording is open, default 50ms"`
}

type storeFile struct {
	Keep    value[string]        `yaml:"keep" oneof:"always,during_recordings,trend" doc:"always: everything; during_recordings: nothing else; trend: only an overview outside recordings"`
	Days    value[int]           `yaml:"days" min:"1" max:"36500" doc:"at most this many days"`
	Size    value[size]          `yaml:"size" doc:"at most this much on the disk"`
	Outside value[time.Duration] `yaml:"outside" min:"1m" doc:"how long samples outside recordings stay when keep is not always, default 24h"`
}

type influxFile struct {
	URL       value[string]        `yaml:"url" doc:"http://host:8086; the environment PNEUDAQ_INFLUX_URL overrides"`
	Org       value[string]        `yaml:"org" doc:"organisation, empty for InfluxDB 1.8"`
	Bucket    value[string]        `yaml:"bucket" doc:"bucket; DATABASE/RETENTION for InfluxDB 1.8"`
	TokenFile value[string]        `yaml:"token_file" doc:"file that holds the token, or USER:PASSWORD for InfluxDB 1.8"`
	Gzip      value[bool]          `yaml:"gzip" doc:"compress, default true"`
	Timeout   value[time.Duration] `yaml:"timeout" min:"100ms" max:"5m" doc:"of one request, default 10s"`
	CAFile    value[string]        `yaml:"ca_file" doc:"certificates that the server is checked by, PEM"`
	Enabled   value[bool]          `yaml:"enabled" doc:"false: deliver nothing"`
}

type simulateFile struct {
	Plant      value[string]           `yaml:"plant" required:"" oneof:"flow-bench,valve-stand" doc:"kind of the plant"`
	Seed       value[int]              `yaml:"seed" min:"0" doc:"of everything that is drawn, default 1"`
	Params     entries[value[float64]] `yaml:"params" names:"any" doc:"parameters of the plant that are not drawn"`
	Devices    entries[twinDeviceFile] `yaml:"devices" subject:"device" doc:"what stands behind each device"`
	Publishers entries[publisherFile]  `yaml:"publishers" subject:"publisher" doc:"what the twin publishes through the broker"`
	TLS        section[twinTLSFile]    `yaml:"tls" doc:"certificates of the twin's encrypted buses"`
	Truth      entries[value[string]]  `yaml:"truth" names:"any" doc:"which signal a channel should show, for comparisons; default the signal of the same name"`
}

type twinTLSFile struct {
	CertFile value[string] `yaml:"cert_file" required:"" doc:"certificate of the twin, PEM"`
	KeyFile  value[string] `yaml:"key_file" required:"" doc:"its key, PEM"`
	ClientCA value[string] `yaml:"client_ca_file" doc:"clients must show a certificate of these authorities, PEM"`
}

type twinDeviceFile struct {
	Wire      value[string]           `yaml:"wire" doc:"path of the wire file; default the device's model"`
	Signals   entries[value[string]]  `yaml:"signals" names:"any" doc:"register: signal of the plant"`
	Constants entries[value[float64]] `yaml:"constants" names:"any" doc:"register: value that it always has, in the register's unit"`
	Unit      value[int]              `yaml:"unit" min:"0" max:"255" doc:"unit id of the twin, default the device's"`
	Delay     value[time.Duration]    `yaml:"delay" doc:"time that the twin takes for an answer"`
}

type publisherFile struct {
	Bus      value[string]          `yaml:"bus" required:"" doc:"the broker's bus"`
	Topic    value[string]          `yaml:"topic" required:"" doc:"topic that it publishes to; {rig} and {signal} are filled in"`
	Format   value[string]          `yaml:"format" required:"" oneof:"number,json,name_value,arrays,rows,line_protocol,csv,text,float32,int16" doc:"format of the payload"`
	Signals  entries[pubSignalFile] `yaml:"signals" required:"" names:"any" subject:"signal" doc:"signals of the plant in their order"`
	Rate     value[float64]         `yaml:"rate" min:"0.001" doc:"messages per second; with samples, samples per second"`
	Samples  value[int]             `yaml:"samples" min:"1" doc:"samples of one message"`
	Bursts   value[bool]            `yaml:"bursts" doc:"true: the plant's bursts around valve edges"`
	TimeUnit value[string]          `yaml:"time_unit" oneof:"s,ms,us,ns,rfc3339,text,none" doc:"how the time is written, default ms"`
	Presence value[string]          `yaml:"presence" doc:"topic that says online, and offline as last will"`
	QoS      value[int]             `yaml:"qos" min:"0" max:"1" doc:"quality of service, default 1"`
}

type pubSignalFile struct {
	Name   value[string]  `yaml:"name" doc:"in the payload, default the signal"`
	Unit   value[string]  `yaml:"unit" doc:"in the payload, default SI"`
	Scale  value[float64] `yaml:"scale" doc:"int16: number = (value - offset) / scale"`
	Offset value[float64] `yaml:"offset" doc:"int16: number = (value - offset) / scale"`
}

// modelFile is one instrument; a wire file is one device as it was found.
type modelFile struct {
	Version     value[int]             `yaml:"version" required:"" min:"1" max:"1" doc:"version of the file format, 1"`
	Model       value[string]          `yaml:"model" doc:"name of the model; in a wire file the model it is based on"`
	Wire        value[string]          `yaml:"wire" doc:"name of the wire file"`
	Maker       value[string]          `yaml:"maker" doc:"who makes it"`
	Product     value[string]          `yaml:"product" doc:"what the maker calls it"`
	Description value[string]          `yaml:"description" doc:"for people"`
	Source      section[sourceFile]    `yaml:"source" doc:"the document that the registers were read in"`
	Trust       value[string]          `yaml:"trust" oneof:"documented,second_source,simulator_interop,hardware,recorded" doc:"how far it was confirmed"`
	AddressBase value[int]             `yaml:"address_base" min:"0" max:"1" doc:"0: addresses as on the wire; 1: the first register is number 1"`
	Functions   many[int]              `yaml:"functions" doc:"function codes that the device answers"`
	MaxRead     value[int]             `yaml:"max_read" min:"1" max:"125" doc:"registers of one request at most"`
	ValidStarts many[address]          `yaml:"valid_starts" doc:"the only addresses at which a request may begin"`
	MinGapMS    value[float64]         `yaml:"min_gap_ms" min:"0" max:"10000" doc:"least time between requests, ms"`
	Serial      section[serialFile]    `yaml:"serial" doc:"settings of the line as delivered"`
	Firmware    many[string]           `yaml:"firmware" doc:"versions that the document is about"`
	Holes       value[string]          `yaml:"holes" oneof:"exception,zero" doc:"what the device answers between its registers"`
	Registers   entries[registerFile]  `yaml:"registers" required:"" subject:"register" names:"any" doc:"registers by name"`
	Buffers     entries[bufferFile]    `yaml:"buffers" subject:"buffer" names:"any" doc:"stretches of fast samples in registers"`
	Watchdog    section[watchdogFile]  `yaml:"watchdog" doc:"guard of an output module"`
	Objects     entries[value[string]] `yaml:"objects" names:"any" doc:"answers to function 43/14 by number"`
	Identity    sections[checkFile]    `yaml:"identity" subject:"identity check" doc:"registers that tell whether this is the device"`
	Check       sections[checkFile]    `yaml:"check" subject:"constant" doc:"constants that prove base, order and type"`
	Vectors     sections[vectorFile]   `yaml:"vectors" subject:"vector" doc:"bytes as they travel with the value that they mean"`
}

type sourceFile struct {
	Document value[string] `yaml:"document" required:"" doc:"title of the document"`
	Page     value[string] `yaml:"page" required:"" doc:"pages"`
	Revision value[string] `yaml:"revision" required:"" doc:"revision, or not stated"`
	Date     value[string] `yaml:"date" required:"" doc:"date of the document, or not stated"`
	URL      value[string] `yaml:"url" doc:"where it was found"`
	Note     value[string] `yaml:"note" doc:"what to beware of"`
}

type serialFile struct {
	Baud   value[int]    `yaml:"baud" min:"300" max:"4000000" doc:"bits per second"`
	Parity value[string] `yaml:"parity" oneof:"N,E,O" doc:"N, E or O"`
	Data   value[int]    `yaml:"data" min:"7" max:"8" doc:"data bits"`
	Stop   value[int]    `yaml:"stop" min:"1" max:"2" doc:"stop bits"`
	Unit   value[int]    `yaml:"unit" min:"0" max:"255" doc:"unit id"`
}

type registerFile struct {
	Coil          value[address]         `yaml:"coil" doc:"address of the coil"`
	Discrete      value[address]         `yaml:"discrete" doc:"address of the discrete input"`
	Input         value[address]         `yaml:"input" doc:"address of the first input register"`
	Holding       value[address]         `yaml:"holding" doc:"address of the first holding register"`
	Type          value[string]          `yaml:"type" oneof:"bool,int8,uint8,int16,uint16,int32,uint32,int64,uint64,float16,float32,float64,bcd16,bcd32,string" doc:"how the bits are read"`
	Order         value[string]          `yaml:"order" oneof:"ABCD,CDAB,BADC,DCBA,AB,BA" doc:"order of bytes as they arrive"`
	Bit           value[int]             `yaml:"bit" min:"0" max:"63" doc:"lowest bit of a bit field"`
	Bits          value[int]             `yaml:"bits" min:"1" max:"63" doc:"width of a bit field"`
	Length        value[int]             `yaml:"length" min:"1" max:"125" doc:"of a string, in registers"`
	Scale         value[float64]         `yaml:"scale" doc:"value = number · scale + offset"`
	Offset        value[float64]         `yaml:"offset" doc:"value = number · scale + offset"`
	NegativeAbove value[raw]             `yaml:"negative_above" doc:"unsigned numbers above it are negative: the device's numbers wrap there"`
	Unit          many[string]           `yaml:"unit" doc:"unit of the value; several: the version of the device decides; configured: set on the device"`
	DecimalsFrom  value[string]          `yaml:"decimals_from" doc:"register that holds the number of decimals"`
	UnitFrom      value[string]          `yaml:"unit_from" doc:"register that holds the unit"`
	Sentinels     entries[value[string]] `yaml:"sentinels" names:"any" doc:"bits that stand for no value, with the reason"`
	Atomic        value[string]          `yaml:"atomic" doc:"registers with the same word are read in one request"`
	Range         many[float64]          `yaml:"range" len:"2" doc:"range of the device in its unit"`
	Rate          value[float64]         `yaml:"rate" min:"0" doc:"fastest plausible change, unit per second"`
	Wrap          value[float64]         `yaml:"wrap" doc:"a totalizer starts again at 0 here"`
	Use           value[string]          `yaml:"use" oneof:"verdict,display_only" doc:"display_only: the maker forbids it for verdicts"`
	Writable      value[string]          `yaml:"writable" oneof:"armed" doc:"armed: may be written while the rig is armed"`
	Page          value[string]          `yaml:"page" doc:"page of the document"`
	Value         value[float64]         `yaml:"value" doc:"twin: what the register always has"`
	Text          value[string]          `yaml:"text" doc:"twin: what a string register always has"`
	Volatile      value[bool]            `yaml:"volatile" doc:"twin: what was written is lost at a restart"`
	Description   value[string]          `yaml:"description" doc:"for people"`
}

type bufferFile struct {
	Input    value[address] `yaml:"input" doc:"address of the first input register"`
	Holding  value[address] `yaml:"holding" doc:"address of the first holding register, or pointer of the queue"`
	Kind     value[string]  `yaml:"kind" required:"" oneof:"fifo,ring,window" doc:"how it is laid out"`
	Type     value[string]  `yaml:"type" required:"" oneof:"int16,uint16,int32,uint32,float32,float64" doc:"type of a sample"`
	Order    value[string]  `yaml:"order" oneof:"ABCD,CDAB,BADC,DCBA,AB,BA" doc:"order of bytes"`
	Scale    value[float64] `yaml:"scale" doc:"value = number · scale + offset"`
	Offset   value[float64] `yaml:"offset" doc:"value = number · scale + offset"`
	Unit     value[string]  `yaml:"unit" doc:"unit of a sample"`
	Signal   value[string]  `yaml:"signal" doc:"signal of the plant"`
	Capacity value[int]     `yaml:"capacity" required:"" min:"1" max:"30000" doc:"samples kept"`
	Rate     value[float64] `yaml:"rate" required:"" min:"0.001" doc:"samples per second"`
	Numbered value[bool]    `yaml:"numbered" doc:"fifo: the number of the first sample comes first"`
	Consume  value[bool]    `yaml:"consume" doc:"fifo: what was delivered is removed"`
}

type watchdogFile struct {
	After value[time.Duration]    `yaml:"after" required:"" min:"1ms" doc:"silence after which the outputs fall to safe"`
	Safe  entries[value[float64]] `yaml:"safe" names:"any" doc:"outputs by register"`
}

type checkFile struct {
	Register value[string] `yaml:"register" required:"" doc:"name of the register"`
	Raw      value[octets] `yaml:"raw" required:"" doc:"bytes that it must hold"`
	Page     value[string] `yaml:"page" doc:"page of the document"`
}

type vectorFile struct {
	Register value[string]  `yaml:"register" required:"" doc:"name of the register"`
	Raw      value[octets]  `yaml:"raw" required:"" doc:"bytes as they travel"`
	Value    value[float64] `yaml:"value" doc:"value that they mean, in the register's first unit"`
	Within   value[float64] `yaml:"within" min:"0" doc:"half of the last digit that the document prints, default exact to 1e-6"`
	Reason   value[string]  `yaml:"reason" doc:"why they are no value, instead of value"`
	Page     value[string]  `yaml:"page" required:"" doc:"page of the document"`
	From     value[string]  `yaml:"from" required:"" oneof:"printed,rule" doc:"printed: the document prints this pair; rule: it prints the rule that gives the pair"`
	Note     value[string]  `yaml:"note" doc:"for people"`
}

// instrumentFile is one instrument by serial number with its certificates.
type instrumentFile struct {
	Version      value[int]                `yaml:"version" required:"" min:"1" max:"1" doc:"version of the file format, 1"`
	Instrument   value[string]             `yaml:"instrument" required:"" doc:"serial number"`
	Maker        value[string]             `yaml:"maker" doc:"who made it"`
	Model        value[string]             `yaml:"model" doc:"what it is"`
	Description  value[string]             `yaml:"description" doc:"for people"`
	Unit         value[string]             `yaml:"unit" required:"" doc:"unit of its indication"`
	Range        many[float64]             `yaml:"range" required:"" len:"2" doc:"measuring range in its unit"`
	Resolution   value[float64]            `yaml:"resolution" min:"0" doc:"last digit of its indication"`
	Drift        value[accuracy]           `yaml:"drift" doc:"half width of the drift in a year"`
	Certificates sections[certificateFile] `yaml:"certificates" subject:"certificate" doc:"calibrations, oldest first"`
}

type certificateFile struct {
	Number     value[string]       `yaml:"number" required:"" doc:"number of the certificate"`
	Laboratory value[string]       `yaml:"laboratory" required:"" doc:"who issued it"`
	Date       value[day]          `yaml:"date" required:"" doc:"date of the calibration"`
	Due        value[day]          `yaml:"due" required:"" doc:"date on which it ends"`
	Coverage   value[float64]      `yaml:"k" min:"1" max:"4" doc:"coverage factor of U, default 2"`
	Points     sections[pointFile] `yaml:"points" required:"" subject:"point" doc:"what was found"`
	Note       value[string]       `yaml:"note" doc:"for people"`
}

type pointFile struct {
	Reference  value[float64] `yaml:"reference" required:"" doc:"the standard's value"`
	Indication value[float64] `yaml:"indication" required:"" doc:"what the instrument said"`
	U          value[float64] `yaml:"U" required:"" min:"0" doc:"expanded uncertainty"`
}

// serviceFile is what one machine runs.
type serviceFile struct {
	Version value[int]           `yaml:"version" required:"" min:"1" max:"1" doc:"version of the file format, 1"`
	Service value[string]        `yaml:"service" required:"" doc:"name of this gateway"`
	Rigs    many[string]         `yaml:"rigs" required:"" doc:"rig files, relative to this file"`
	Data    value[string]        `yaml:"data" doc:"data directory, default the system's place; PNEUDAQ_DATA overrides"`
	Listen  value[string]        `yaml:"listen" doc:"address of page and API, default 127.0.0.1:8470; PNEUDAQ_LISTEN overrides"`
	Commit  value[time.Duration] `yaml:"commit" min:"10ms" max:"10s" doc:"commit this often when nothing records, default 1s"`
	Memory  value[size]          `yaml:"memory" doc:"what may wait for the disk, default 64MiB"`
	Store   section[storeFile]   `yaml:"store" doc:"for rigs that state none"`
	Influx  section[influxFile]  `yaml:"influx" doc:"for rigs that state none"`
}
