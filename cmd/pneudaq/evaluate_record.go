package main

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"iter"
	"math"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"time"

	"pneudaq/acquisition"
	"pneudaq/configs"
	"pneudaq/verification"
	"pneudaq/web"
)

// dataset makes a dataset of a recording: every channel of its groups, each
// sample at the time of its own exchange. file gives accuracies and
// certificates and may be nil.
func (a *archive) dataset(ctx context.Context, r acquisition.Recording, file *configs.Rig) (*verification.Dataset, error) {
	d := &verification.Dataset{Origin: r.Start, Recording: r.ID}
	for _, g := range a.groups(r) {
		sum := sha256.New()
		if err := d.AddBlocks(hashed(a.blocks(ctx, r, g), r.Start, a.stop(r, a.store.Now()), sum), configs.Compile); err != nil {
			return nil, err
		}
		d.Sources = append(d.Sources, verification.Source{Name: string(g.Key()), SHA256: hex.EncodeToString(sum.Sum(nil))})
	}
	// Blocks reach beyond the recording by what they hold.
	*d = *d.Between(0, float64(a.stop(r, a.store.Now())-r.Start)/1e9)
	if file == nil {
		return d, nil
	}
	for _, c := range d.Channels {
		if x := file.Channel(c.Name); x != nil && x.Unit == c.Unit {
			if err := calibrated(c, x, time.Unix(0, r.Start)); err != nil {
				return nil, err
			}
		}
	}
	return d, nil
}

// hashed passes blocks on and puts what was recorded within from..to into a
// hash: times, words, numbers and quality of each scan.
func hashed(blocks iter.Seq2[*acquisition.Block, error], from, to int64, sum hash.Hash) iter.Seq2[*acquisition.Block, error] {
	return func(yield func(*acquisition.Block, error) bool) {
		var line []byte
		for b, err := range blocks {
			if err == nil {
				for i := range b.Len() {
					if b.Times[i] < from || b.Times[i] >= to {
						continue
					}
					line = binary.BigEndian.AppendUint64(line[:0], uint64(b.Times[i]))
					for _, w := range b.ScanWords(i) {
						line = binary.BigEndian.AppendUint16(line, w)
					}
					for _, v := range b.ScanNumbers(i) {
						line = binary.BigEndian.AppendUint64(line, math.Float64bits(v))
					}
					for _, q := range b.ScanQuality(i) {
						line = append(line, byte(q))
					}
					_, _ = sum.Write(line) // a hash never errs
				}
			}
			if !yield(b, err) {
				return
			}
		}
	}
}

// calibrated gives a channel its accuracy, and where its instrument has a
// certificate in force, corrects its values by it and takes its uncertainty.
func calibrated(c *verification.Channel, x *configs.Channel, at time.Time) error {
	c.Accuracy = x.Accuracy
	if x.Instrument == nil {
		return nil
	}
	cert := x.Instrument.InForce(at)
	if cert == nil {
		if len(x.Instrument.Certificates) > 0 {
			c.Expired = fmt.Sprintf("instrument %s of channel %s had no certificate in force on %s", x.Instrument.Serial, c.Name, at.Format(time.DateOnly))
		}
		return nil
	}
	from, err1 := acquisition.LookupUnit(x.Instrument.Unit)
	to, err2 := acquisition.LookupUnit(c.Unit)
	if err := errors.Join(err1, err2); err != nil {
		return fmt.Errorf("calibration of %s: %w", c.Name, err)
	}
	if from.Dimension != to.Dimension {
		return fails(exitConfig, "calibration of %s: its certificate is in %s, the channel in %s", c.Name, from.Name, to.Name)
	}
	points := slices.SortedFunc(slices.Values(cert.Points), func(a, b configs.Point) int {
		switch {
		case a.Indication < b.Indication:
			return -1
		case a.Indication > b.Indication:
			return 1
		}
		return 0
	})
	if len(points) == 0 {
		return nil
	}
	u := 0.0
	for _, p := range points {
		u = max(u, p.U)
	}
	values := make([]float64, len(c.Values))
	for i, v := range c.Values {
		shown := from.FromSI(to.ToSI(v))
		values[i] = to.FromSI(from.ToSI(shown + correction(points, shown)))
	}
	c.Values = values
	k := cert.Coverage
	if k <= 0 {
		k = 2
	}
	// The uncertainty is a difference: of gauge, absolute and delta units alike.
	c.Accuracy = fmt.Sprintf("U %g %s k=%g", u, from.Name, k)
	if d := x.Instrument.Drift; d != "" {
		c.Accuracy += " + " + d
	}
	return nil
}

// correction is reference less indication, linear between the points of a
// certificate and constant outside them.
func correction(points []configs.Point, v float64) float64 {
	of := func(p configs.Point) float64 { return p.Reference - p.Indication }
	i := slices.IndexFunc(points, func(p configs.Point) bool { return p.Indication >= v })
	switch {
	case i < 0:
		return of(points[len(points)-1])
	case i == 0 || points[i].Indication == points[i-1].Indication:
		return of(points[i])
	}
	share := (v - points[i-1].Indication) / (points[i].Indication - points[i-1].Indication)
	return of(points[i-1]) + share*(of(points[i])-of(points[i-1]))
}

// evaluateRun judges a recording of ours, here or through the service that has
// it.
func evaluateRun(ctx context.Context, t *terminal, local *archive, far *remote, id, method string, o *evaluateFlags, asJSON bool) error {
	limits, err := o.file(method)
	if err != nil {
		return err
	}
	if far != nil && limits == nil {
		return o.askService(ctx, t, far, id, method, asJSON)
	}
	if far != nil {
		return fails(exitUsage, "limits files are judged on the store itself: stop the service, or export the recording and use `pneudaq evaluate limits FILE`")
	}
	r, err := local.find(id)
	if err != nil {
		return err
	}
	var file *configs.Rig
	if o.rig != "" {
		rigs, _, err := load(t, []string{o.rig})
		if err != nil {
			return err
		}
		i := slices.IndexFunc(rigs, func(x *configs.Rig) bool { return x.Name == r.Rig })
		if i < 0 {
			return fails(exitUsage, "%s is not the file of rig %s", o.rig, r.Rig)
		}
		file = rigs[i]
	}
	d, err := local.dataset(ctx, r, file)
	if err != nil {
		return err
	}
	if err := o.accuracies(d); err != nil {
		return err
	}
	result, err := o.judge(method, limits, d, o.mapping)
	if err != nil {
		return err
	}
	return o.finish(t, result, asJSON)
}

// accuracies puts what the command line states into the dataset, by the
// record's names or the method's.
func (o *evaluateFlags) accuracies(d *verification.Dataset) error {
	for name, text := range o.accuracy {
		c := d.Channel(name)
		if c == nil {
			c = d.Channel(o.mapping[name])
		}
		if c == nil {
			return fails(exitUsage, "--accuracy %s: there is no such channel", name)
		}
		c.Accuracy = text
	}
	return nil
}

func (o *evaluateFlags) askService(ctx context.Context, t *terminal, far *remote, id, method string, asJSON bool) error {
	if o.rig != "" {
		return fails(exitUsage, "a service runs on this store and has the rig's file: leave out --rig, or stop the service")
	}
	q := web.EvaluateRequest{Method: method, Channels: o.mapping, Parameters: map[string]any{}}
	for k, v := range o.params {
		q.Parameters[k] = v
	}
	if len(o.limits) > 0 {
		q.Parameters[limitsParameter] = o.limits
	}
	if o.Rule != "" {
		q.Parameters[ruleParameter] = o.Rule
	}
	if len(o.accuracy) > 0 {
		q.Parameters[accuracyParameter] = o.accuracy
	}
	var answer web.Evaluation
	if err := far.do(ctx, http.MethodPost, "/api/v1/recordings/"+url.PathEscape(id)+"/evaluate", q, &answer); err != nil {
		return err
	}
	var all whole
	if err := json.Unmarshal(answer.Curve, &all); err != nil || all.Result == nil || all.Schema != verification.SchemaName {
		return fails(exitUnavailable, "the service is of another version: its answer is no result")
	}
	if o.svg != "" {
		if err := os.MkdirAll(o.svg, 0o750); err != nil {
			return fails(exitIO, "make the directory for the plots: %w", err)
		}
		for name, svg := range all.Plots {
			if err := os.WriteFile(filepath.Join(o.svg, filepath.Base(name)+".svg"), []byte(svg), 0o600); err != nil {
				return fails(exitIO, "write the plot %s: %w", name, err)
			}
		}
		o.svg = ""
	}
	return o.finish(t, all.Result, asJSON)
}
