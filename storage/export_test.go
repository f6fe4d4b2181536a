package storage

import (
	"bytes"

	"pneudaq/acquisition"
)

// Transcode encodes blocks as a chunk and decodes them again.
func Transcode(blocks []*acquisition.Block, stripe int) ([]acquisition.Block, int, error) {
	var e encoder
	var err error
	if e.z, err = newEncoder(); err != nil {
		return nil, 0, err
	}
	z, err := newDecoder()
	if err != nil {
		return nil, 0, err
	}
	defer z.Close()
	payload, err := e.append(nil, blocks, stripe)
	if err != nil {
		return nil, 0, err
	}
	scans := 0
	for _, b := range blocks {
		scans += b.Len()
	}
	h := header{seq: blocks[0].Seq, epoch: uint64(blocks[0].Epoch), blocks: uint32(len(blocks)), scans: uint32(scans)}
	out, err := decodeChunk(z, blocks[0].Group, &h, payload)
	return out, len(payload), err
}

// DecodePayload decodes any bytes as a chunk.
func DecodePayload(g *acquisition.Group, blocks, scans uint32, payload []byte) error {
	z, err := newDecoder()
	if err != nil {
		return err
	}
	defer z.Close()
	_, err = decodeChunk(z, g, &header{seq: 1, blocks: blocks, scans: scans}, payload)
	return err
}

// EncodePayload returns a chunk.
func EncodePayload(blocks []*acquisition.Block, stripe int) ([]byte, error) {
	var e encoder
	var err error
	if e.z, err = newEncoder(); err != nil {
		return nil, err
	}
	return e.append(nil, blocks, stripe)
}

// ScanBytes sorts the bytes of a file into frames and damage.
func ScanBytes(data []byte) (frames, damaged int64, err error) {
	bad, _, err := scanFrames(bytes.NewReader(data), 0, int64(len(data)), func(_ int64, _ *header, payload []byte) error {
		frames += headerSize + int64(len(payload))
		return nil
	})
	for _, b := range bad {
		damaged += b.to - b.from
	}
	return frames, damaged, err
}
