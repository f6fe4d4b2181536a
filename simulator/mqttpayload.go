package simulator

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Payload formats. A message carries n samples of each of its signals: n is 1 for what is published at a rate, Samples for
// a stream, and what the plant took for a burst. T stands for the time as TimeUnit has it, figures are shortest decimals.
//
//	number         512.3                                        one signal, one sample
//	json           {"time":T,"seq":7,"p1":512.3,"T1":293.1}     n > 1: an array of these
//	name_value     [{"name":"p1","value":512.3,"unit":"kPa_a","time":T},...]
//	arrays         {"t0":T,"dt":D,"seq":7,"values":[..]}        several signals: "p1":[..],"p2":[..] instead of "values";
//	               D is in the unit of T, in s where T is text
//	rows           [[T,512.3,293.1],[T,...]]
//	line_protocol  rig,device=a p1=512.3,T1=293.1,seq=7i 1700000000000000000
//	csv            T,7,512.3,293.1                              a line a sample; with Header first: time,seq,p1,T1
//	text           2026-11-24 14:03:05.123;512.3;293.1          local time by TimeLayout and Zone, no number
//	float32        binary, see below
//	int16          binary, counts = (figure - Offset) / Scale of each signal
//
// The binary formats are little endian: uint64 time of the first sample in ns since 1970 at byte 0, uint32 time between
// samples in ns at 8, uint32 number at 12, uint16 count of signals at 16, uint16 samples of each at 18, then from byte 20
// the samples, interleaved: first sample of every signal, second sample of every signal, and so on. int16 says -32768 for no value.
const (
	PayloadNumber       = "number"
	PayloadJSON         = "json"
	PayloadNameValue    = "name_value"
	PayloadArrays       = "arrays"
	PayloadRows         = "rows"
	PayloadLineProtocol = "line_protocol"
	PayloadCSV          = "csv"
	PayloadText         = "text"
	PayloadFloat32      = "float32"
	PayloadInt16        = "int16"
)

func payloads() []string {
	return []string{
		PayloadNumber, PayloadJSON, PayloadNameValue, PayloadArrays, PayloadRows, PayloadLineProtocol, PayloadCSV, PayloadText,
		PayloadFloat32, PayloadInt16,
	}
}

// message is what one payload says.
type message struct {
	signals []pubSignal
	values  [][]float64 // by signal, then sample, in the signal's unit
	t0      time.Time
	dt      time.Duration
	seq     uint64
}

func (m *message) samples() int { return len(m.values[0]) }

func (m *message) at(i int) time.Time { return m.t0.Add(time.Duration(i) * m.dt) }

// writer renders messages as its publisher's options say.
type writer struct {
	o    *PublisherOptions
	zone *time.Location
	b    []byte
}

// payload returns the bytes of a message, not kept by the writer.
func (w *writer) payload(m *message) []byte {
	w.b = w.b[:0]
	switch w.o.Payload {
	case PayloadNumber:
		w.number(m.values[0][0], "NaN")
	case PayloadJSON:
		w.objects(m)
	case PayloadNameValue:
		w.nameValue(m)
	case PayloadArrays:
		w.arrays(m)
	case PayloadRows:
		w.rows(m)
	case PayloadLineProtocol:
		w.lines(m)
	case PayloadCSV, PayloadText:
		w.separated(m)
	case PayloadFloat32, PayloadInt16:
		w.binary(m)
	}
	return slices.Clone(w.b)
}

func (w *writer) put(s string) { w.b = append(w.b, s...) }

// number writes a figure, or missing for NaN and infinities.
func (w *writer) number(v float64, missing string) {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		w.put(missing)
		return
	}
	w.b = strconv.AppendFloat(w.b, v, 'g', -1, 64)
}

// ticks returns the length of the time unit in ns, 0 for text.
func ticks(unit string) int64 {
	return map[string]int64{"": 1e6, "s": 1e9, "ms": 1e6, "us": 1e3, "ns": 1}[unit]
}

// time writes an instant, with quote around text.
func (w *writer) time(t time.Time, quote string) {
	switch w.o.TimeUnit {
	case "s":
		w.b = strconv.AppendFloat(w.b, float64(t.UnixMicro())/1e6, 'f', -1, 64)
	case "rfc3339":
		w.put(quote)
		w.b = t.In(w.zone).AppendFormat(w.b, time.RFC3339Nano)
		w.put(quote)
	case "text":
		w.put(quote)
		w.b = t.In(w.zone).AppendFormat(w.b, w.o.TimeLayout)
		w.put(quote)
	default:
		w.b = strconv.AppendInt(w.b, t.UnixNano()/ticks(w.o.TimeUnit), 10)
	}
}

// stamp writes members for time and number, each with a comma behind it.
func (w *writer) stamp(m *message, i int) {
	if w.o.TimeUnit != "none" {
		w.put(`"time":`)
		w.time(m.at(i), `"`)
		w.put(",")
	}
	if !w.o.NoSequence {
		w.put(`"seq":`)
		w.b = strconv.AppendUint(w.b, m.seq, 10)
		w.put(",")
	}
}

func (w *writer) objects(m *message) {
	if m.samples() > 1 {
		w.put("[")
	}
	for i := range m.samples() {
		if i > 0 {
			w.put(",")
		}
		w.put("{")
		w.stamp(m, i)
		for j := range m.signals {
			if j > 0 {
				w.put(",")
			}
			w.b = strconv.AppendQuote(w.b, m.signals[j].Name)
			w.put(":")
			w.number(m.values[j][i], "null")
		}
		w.put("}")
	}
	if m.samples() > 1 {
		w.put("]")
	}
}

func (w *writer) nameValue(m *message) {
	w.put("[")
	for i := range m.samples() {
		for j := range m.signals {
			if i+j > 0 {
				w.put(",")
			}
			w.put(`{"name":`)
			w.b = strconv.AppendQuote(w.b, m.signals[j].Name)
			w.put(`,"value":`)
			w.number(m.values[j][i], "null")
			w.put(`,"unit":`)
			w.b = strconv.AppendQuote(w.b, m.signals[j].Unit)
			w.put(",")
			w.stamp(m, i)
			w.b[len(w.b)-1] = '}' // in place of the comma
		}
	}
	w.put("]")
}

func (w *writer) arrays(m *message) {
	unit := float64(max(ticks(w.o.TimeUnit), 1))
	if ticks(w.o.TimeUnit) == 0 {
		unit = 1e9
	}
	w.put(`{"t0":`)
	w.time(m.t0, `"`)
	w.put(`,"dt":`)
	w.number(float64(m.dt)/unit, "0")
	if !w.o.NoSequence {
		w.put(`,"seq":`)
		w.b = strconv.AppendUint(w.b, m.seq, 10)
	}
	for j := range m.signals {
		name := m.signals[j].Name
		if len(m.signals) == 1 {
			name = "values"
		}
		w.put(",")
		w.b = strconv.AppendQuote(w.b, name)
		w.put(":[")
		for i, v := range m.values[j] {
			if i > 0 {
				w.put(",")
			}
			w.number(v, "null")
		}
		w.put("]")
	}
	w.put("}")
}

func (w *writer) rows(m *message) {
	w.put("[")
	for i := range m.samples() {
		if i > 0 {
			w.put(",")
		}
		w.put("[")
		w.time(m.at(i), `"`)
		for j := range m.signals {
			w.put(",")
			w.number(m.values[j][i], "null")
		}
		w.put("]")
	}
	w.put("]")
}

func (w *writer) lines(m *message) {
	for i := range m.samples() {
		w.put(w.o.Measurement)
		fields := 0
		for j := range m.signals {
			if v := m.values[j][i]; math.IsNaN(v) || math.IsInf(v, 0) {
				continue
			}
			w.put([]string{" ", ","}[min(fields, 1)])
			w.put(m.signals[j].Name)
			w.put("=")
			w.number(m.values[j][i], "")
			fields++
		}
		if !w.o.NoSequence || fields == 0 { // a line needs a field
			w.put([]string{" ", ","}[min(fields, 1)])
			w.put("seq=")
			w.b = strconv.AppendUint(w.b, m.seq, 10)
			w.put("i")
		}
		w.put(" ")
		w.b = strconv.AppendInt(w.b, m.at(i).UnixNano(), 10)
		w.put("\n")
	}
}

func (w *writer) separated(m *message) {
	separator := ","
	numbered := !w.o.NoSequence
	if w.o.Payload == PayloadText {
		separator, numbered = ";", false
	}
	if w.o.Header {
		w.put("time")
		if numbered {
			w.put(separator + "seq")
		}
		for j := range m.signals {
			w.put(separator + m.signals[j].Name)
		}
		w.put("\n")
	}
	for i := range m.samples() {
		w.time(m.at(i), "")
		if numbered {
			w.put(separator)
			w.b = strconv.AppendUint(w.b, m.seq, 10)
		}
		for j := range m.signals {
			w.put(separator)
			w.number(m.values[j][i], "")
		}
		w.put("\n")
	}
}

func (w *writer) binary(m *message) {
	le := binary.LittleEndian
	w.b = le.AppendUint64(w.b, uint64(m.t0.UnixNano()))
	w.b = le.AppendUint32(w.b, uint32(m.dt))
	w.b = le.AppendUint32(w.b, uint32(m.seq))
	w.b = le.AppendUint16(w.b, uint16(len(m.signals)))
	w.b = le.AppendUint16(w.b, uint16(m.samples()))
	for i := range m.samples() {
		for j := range m.signals {
			v := m.values[j][i]
			if w.o.Payload == PayloadFloat32 {
				w.b = le.AppendUint32(w.b, math.Float32bits(float32(v)))
				continue
			}
			counts := math.MinInt16
			if !math.IsNaN(v) {
				s := &m.signals[j]
				counts = int(math.Round(min(max((v-s.Offset)/s.Scale, math.MinInt16+1), math.MaxInt16)))
			}
			w.b = le.AppendUint16(w.b, uint16(int16(counts)))
		}
	}
}

// topic fills in a topic's template.
func topic(template, rig, signal string) string {
	return strings.NewReplacer("{rig}", rig, "{signal}", signal).Replace(template)
}

// check returns what is wrong with a publisher, and fills in what is left out.
func (o *PublisherOptions) check() error {
	switch {
	case !slices.Contains(payloads(), o.Payload):
		return fmt.Errorf("payload %q is unknown: known are %s", o.Payload, strings.Join(payloads(), ", "))
	case o.Topic == "" || strings.ContainsAny(o.Topic, "+#"):
		return fmt.Errorf("topic %q: a publisher needs one without wildcards", o.Topic)
	case len(o.Signals) == 0:
		return errors.New("no signals")
	case o.QoS > 2:
		return fmt.Errorf("qos %d: 0, 1 or 2", o.QoS)
	case o.Bursts && (o.Rate != 0 || o.Samples != 0):
		return errors.New("bursts come when the plant takes them: rate and samples must be left out")
	case !o.Bursts && o.Rate <= 0:
		return fmt.Errorf("rate %g Hz must be above 0", o.Rate)
	case o.Samples < 0 || o.Samples > math.MaxUint16:
		return fmt.Errorf("samples %d: 0 to 65535", o.Samples)
	case o.Payload == PayloadNumber && (o.Samples > 0 || o.Bursts || len(o.Signals) > 1 && !strings.Contains(o.Topic, "{signal}")):
		return errors.New("payload number carries one sample of one signal: give {signal} in the topic, no samples, no bursts")
	case !slices.Contains([]string{"", "s", "ms", "us", "ns", "rfc3339", "text", "none"}, o.TimeUnit):
		return fmt.Errorf("time unit %q is unknown: s, ms, us, ns, rfc3339, text, none", o.TimeUnit)
	}
	if o.Payload == PayloadText {
		o.TimeUnit = "text"
	}
	if o.TimeLayout == "" {
		o.TimeLayout = "2006-01-02 15:04:05.000"
	}
	if o.Measurement == "" {
		o.Measurement = "rig"
	}
	return nil
}
