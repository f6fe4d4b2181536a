package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"pneudaq/configs"
	"pneudaq/verification"
	"pneudaq/web"
)

// evaluator judges recordings for the page and its API.
type evaluator struct {
	a *archive
	b *backend
}

// Methods lists the methods that work with what they ask for.
func (evaluator) Methods(context.Context) ([]web.Method, error) {
	var list []web.Method
	for _, m := range verification.Methods() {
		doc := web.Method{Name: m.Name, TitleEN: m.English, TitleZH: m.Chinese, Standard: m.Standard, Conventions: m.Conventions}
		for _, c := range m.Channels {
			doc.Channels = append(doc.Channels, web.MethodChannel{Name: c.Name, Quantity: string(c.Quantity), Unit: c.Unit, Required: c.Required, MinRate: c.MinRate})
		}
		for _, p := range m.Parameters {
			doc.Parameters = append(doc.Parameters, web.MethodParameter{
				Name: p.Name, Unit: p.Unit, TitleEN: p.TitleEN, TitleZH: p.TitleZH, Default: p.Default, Required: p.Required,
			})
		}
		list = append(list, doc)
	}
	return list, nil
}

// Evaluate judges a recording.
func (e evaluator) Evaluate(ctx context.Context, id string, q web.EvaluateRequest, _ web.Language) (web.Evaluation, error) {
	const advice = "compare the question with what GET /api/v1/methods says of the method"
	r, err := e.a.find(id)
	if err != nil {
		return web.Evaluation{}, err
	}
	if _, ok := verification.MethodNamed(q.Method); !ok {
		return web.Evaluation{}, web.NotFound("method", q.Method)
	}
	var file *configs.Rig
	if e.b != nil {
		all := e.b.sorted()
		if i := slices.IndexFunc(all, func(x *rig) bool { return x.file.Name == r.Rig }); i >= 0 {
			file = all[i].file
		}
	}
	d, err := e.a.dataset(ctx, r, file)
	if err != nil {
		return web.Evaluation{}, err
	}
	o := verification.Options{Map: q.Channels, Parameters: map[string]string{}}
	if err := options(&o, d, q, r.Start); err != nil {
		return web.Evaluation{}, web.Refuse(err.Error(), advice)
	}
	// A wish of many draws would keep a processor busy for everybody.
	if n, err := strconv.Atoi(o.Parameters["draws"]); err == nil && n > mostDraws {
		return web.Evaluation{}, web.Refuse(fmt.Sprintf("%d draws are asked for", n), fmt.Sprintf("ask for at most %d", mostDraws))
	}
	result, err := verification.Evaluate(q.Method, d, o)
	if err != nil {
		return web.Evaluation{}, web.Refuse(err.Error(), advice)
	}
	return asEvaluation(result)
}

// mostDraws of a Monte Carlo check that the API takes.
const mostDraws = 200_000

// Parameters of a request that are no parameters of a method.
const (
	limitsParameter   = "limits"   // a list of texts
	ruleParameter     = "rule"     // simple or guarded
	accuracyParameter = "accuracy" // text by channel
)

// options reads the loose parameters of a request.
func options(o *verification.Options, d *verification.Dataset, q web.EvaluateRequest, start int64) error {
	for name, v := range q.Parameters {
		switch name {
		case ruleParameter:
			o.Rule = fmt.Sprint(v)
		case limitsParameter:
			list, ok := v.([]any)
			if !ok {
				return errors.New("limits is not a list of texts such as \"C >= 25\"")
			}
			for _, text := range list {
				limit, err := verification.ParseLimit(fmt.Sprint(text))
				if err != nil {
					return err
				}
				o.Limits = append(o.Limits, limit)
			}
		case accuracyParameter:
			stated, ok := v.(map[string]any)
			if !ok {
				return errors.New("accuracy is not an object of channel and text")
			}
			for channel, text := range stated {
				c := d.Channel(channel)
				if c == nil {
					c = d.Channel(q.Channels[channel])
				}
				if c == nil {
					return fmt.Errorf("accuracy of %s: the record has no such channel", channel)
				}
				c.Accuracy = fmt.Sprint(text)
			}
		default:
			if n, ok := v.(float64); ok {
				v = strconv.FormatFloat(n, 'g', -1, 64)
			}
			o.Parameters[name] = fmt.Sprint(v)
		}
	}
	for name, at := range map[string]web.Time{"from": q.From, "to": q.To} {
		if at != 0 {
			o.Parameters[name] = strconv.FormatFloat(float64(int64(at)-start)/1e9, 'f', -1, 64)
		}
	}
	return nil
}

// whole is a result with its plots by name, as the API carries it.
type whole struct {
	*verification.Result

	Plots map[string]string `json:"plots_svg"`
}

func asEvaluation(r *verification.Result) (web.Evaluation, error) {
	e := web.Evaluation{
		Method: r.Method, Recording: r.Recording, Wording: r.Wording, Simulated: r.Simulated, Conventions: r.Conventions, Notes: r.Notes,
	}
	if r.Refusal != nil {
		e.Refusal = &web.Refusal{Code: r.Refusal.Code, What: r.Refusal.What}
	}
	for i := range r.Figures {
		f := &r.Figures[i]
		e.Figures = append(e.Figures, web.Figure{Name: f.Name, Value: f.Value, U: f.U, K: f.K, Unit: f.Unit, Text: f.Text, TitleEN: f.TitleEN, TitleZH: f.TitleZH})
	}
	all := whole{Result: r, Plots: map[string]string{}}
	for i, p := range r.Plots {
		svg := string(p.SVG())
		all.Plots[p.Name] = svg
		if i == 0 {
			e.Plot = svg
		}
	}
	var err error
	if e.Curve, err = json.Marshal(all); err != nil {
		return e, fmt.Errorf("write the result of %s: %w", r.Method, err)
	}
	return e, nil
}
