package acquisition

// Digest is what a window of one channel holds, so that a store and a sink can
// be compared without moving the samples.
type Digest struct {
	Channel string  `json:"channel"` // the channel's name in its group version
	From    int64   `json:"from"`    // Unix ns, start of the window
	Count   uint64  `json:"count"`   // samples with a value
	Flagged uint64  `json:"flagged"` // samples whose quality is not good
	First   float64 `json:"first"`   // value of the first sample
	Last    float64 `json:"last"`
	Sum     float64 `json:"sum"`
}
