package configs

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"time"
)

// jsonObject is a JSON Schema in the making.
type jsonObject map[string]any

// schemas describes file structures, each once under $defs.
type schemas struct {
	defs jsonObject
}

// Schema returns the JSON Schema (draft 2020-12) of a kind of file, for
// editors that complete and check. It comes from the same structures as the
// reader; what needs more than one place, such as units and references, only
// the reader checks.
func Schema(k Kind) ([]byte, error) {
	var root any
	switch k {
	case KindRig:
		root = rigFile{}
	case KindModel, KindWire:
		root = modelFile{}
	case KindInstrument:
		root = instrumentFile{}
	case KindService:
		root = serviceFile{}
	default:
		return nil, fmt.Errorf("schema %q is not one of %v", k, Kinds())
	}
	s := &schemas{defs: jsonObject{}}
	o := s.object(reflect.TypeOf(root))
	o["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	o["$id"] = "urn:pneudaq:schema:" + string(k) + ":1"
	o["title"] = "pneudaq " + string(k) + " file"
	if k == KindModel || k == KindWire {
		required, _ := o["required"].([]string)
		required = append(required, string(k))
		if k == KindModel {
			required = append(required, "address_base", "source", "trust")
		}
		o["required"] = required
	}
	o["$defs"] = s.defs
	data, err := json.MarshalIndent(o, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode schema: %w", err)
	}
	return append(data, '\n'), nil
}

// object describes a file structure.
func (s *schemas) object(t reflect.Type) jsonObject {
	properties := jsonObject{}
	required := []string{}
	for member := range t.Fields() {
		tag := member.Tag
		key := tag.Get("yaml")
		f, ok := reflect.TypeAssert[field](reflect.New(member.Type))
		if key == "" || !ok {
			continue
		}
		p := f.schema(s, tag)
		if doc := tag.Get("doc"); doc != "" {
			p["description"] = doc
		}
		properties[key] = p
		if _, must := tag.Lookup("required"); must {
			required = append(required, key)
		}
	}
	o := jsonObject{"type": "object", "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		o["required"] = required
	}
	return o
}

// ref describes a structure once and refers to it.
func (s *schemas) ref(t reflect.Type) jsonObject {
	name := t.Name()
	if _, ok := s.defs[name]; !ok {
		s.defs[name] = jsonObject{} // before its members, which may refer to it
		s.defs[name] = s.object(t)
	}
	return jsonObject{"$ref": "#/$defs/" + name}
}

// scalarSchema describes one scalar.
func scalarSchema(v any, tag reflect.StructTag) jsonObject {
	o := jsonObject{}
	bound := func(key, name string) {
		if f, err := strconv.ParseFloat(tag.Get(key), 64); err == nil {
			o[name] = f
		}
	}
	switch p := v.(type) {
	case *string:
		// A plain scalar such as 1 is text too.
		o["type"] = []string{"string", "number", "boolean"}
		if choices := oneOf(tag); choices != nil {
			o["type"] = "string"
			o["enum"] = choices
		}
	case *bool:
		o["type"] = "boolean"
	case *int:
		o["type"] = "integer"
		bound("min", "minimum")
		bound("max", "maximum")
	case *float64:
		o["type"] = "number"
		bound("min", "minimum")
		bound("max", "maximum")
	case *time.Duration:
		o["type"] = "string"
		o["pattern"] = `^([0-9.]+(ns|us|µs|ms|s|m|h))+$`
	case scalar:
		o["type"] = []string{"string", "integer"}
		o["pattern"] = p.pattern()
	}
	return o
}

func (v *value[T]) schema(_ *schemas, tag reflect.StructTag) jsonObject {
	return scalarSchema(any(&v.V), tag)
}

func (*many[T]) schema(_ *schemas, tag reflect.StructTag) jsonObject {
	var one T
	item := scalarSchema(any(&one), tag)
	list := jsonObject{"type": "array", "items": item}
	if n, err := strconv.Atoi(tag.Get("len")); err == nil {
		list["minItems"], list["maxItems"] = n, n
		return list
	}
	return jsonObject{"anyOf": []jsonObject{item, list}}
}

func (*section[T]) schema(s *schemas, _ reflect.StructTag) jsonObject {
	// An empty section is allowed: every key below it is commented out.
	return jsonObject{"anyOf": []jsonObject{s.ref(reflect.TypeFor[T]()), {"type": "null"}}}
}

func (*sections[T]) schema(s *schemas, _ reflect.StructTag) jsonObject {
	return jsonObject{"type": "array", "items": s.ref(reflect.TypeFor[T]())}
}

func (*entries[T]) schema(s *schemas, tag reflect.StructTag) jsonObject {
	var one T
	var member jsonObject
	if f, ok := any(&one).(field); ok {
		member = f.schema(s, "")
	} else {
		member = s.ref(reflect.TypeFor[T]())
	}
	o := jsonObject{"type": []string{"object", "null"}, "additionalProperties": member}
	if tag.Get("names") == "field" {
		o["propertyNames"] = jsonObject{"pattern": "^[A-Za-z_\u2e80-\uffee][A-Za-z0-9_\u2e80-\uffee]*$", "maxLength": maxName}
	}
	return o
}
