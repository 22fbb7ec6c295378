package kafka

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"apportion/schemas"
)

// Publisher writes deliveries from files to their topics.
type Publisher struct {
	client   *Client
	prefix   string
	progress func(Published)
	// A chunk of chunkLines is let go whenever the pace allows so many.
	chunkLines int
	pace       *rate.Limiter
}

// Published counts what was published. Everything that it counts is written to
// all replicas.
type Published struct {
	// Lines counts deliveries, and Bytes their bytes without line ends.
	Lines, Bytes int64
	// Topics counts deliveries by topic, prefix included.
	Topics map[string]int64
	// LeftOut are the numbers, from 1, of lines that are too large for a Kafka
	// record and were not published.
	LeftOut []int64
}

// NewPublisher returns a Publisher to the topics with a prefix. The progress callback may be nil.
func (c *Client) NewPublisher(topicPrefix string, progress func(Published)) *Publisher {
	if progress == nil {
		progress = func(Published) {}
	}
	return &Publisher{c, topicPrefix, progress, maxChunkLines, rate.NewLimiter(rate.Inf, 0)}
}

// Limit makes for a steady load of so many deliveries a second, at least 1, in
// at most ten steps a second.
func (p *Publisher) Limit(perSecond int) {
	p.chunkLines = min(max(perSecond/10, 1), maxChunkLines)
	p.pace = rate.NewLimiter(rate.Limit(perSecond), p.chunkLines)
}

// chunk is as many lines as are under way at a time.
type chunk struct {
	buf      []byte               // the lines, to which messages point
	count    int                  // of messages
	messages map[string][]Message // by topic
	numbers  map[string][]int64   // their line numbers
	tooLong  []int64              // numbers of lines left out
}

func newChunk() *chunk {
	return &chunk{messages: make(map[string][]Message), numbers: make(map[string][]int64)}
}

func (c *chunk) reset() {
	c.buf, c.count, c.tooLong = c.buf[:0], 0, nil
	for topic := range c.messages {
		c.messages[topic] = c.messages[topic][:0]
		c.numbers[topic] = c.numbers[topic][:0]
	}
}

const (
	chunkBytes    = 4 << 20
	maxChunkLines = 20_000
)

// Publish reads deliveries, one CloudEvent a line, plain or gzipped, and writes
// each line byte for byte to the topic of its type, keyed by its tenant. A line
// whose type cannot be read goes to the topic of agent sessions, where it is
// refused and kept; an empty line is no delivery. Deliveries of one tenant and
// topic keep their order.
//
// While Kafka is away it waits. When ctx is done, or on an error, what is
// returned counts what was written by then; some of the lines after those may
// be written too.
func (p *Publisher) Publish(ctx context.Context, r io.Reader) (Published, error) {
	done := Published{Topics: make(map[string]int64)}
	plain, err := gunzip(r)
	if err != nil {
		return done, err
	}
	// One chunk is being read while the other is being written.
	free, full := make(chan *chunk, 2), make(chan *chunk)
	free <- newChunk()
	free <- newChunk()
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer close(full)
		return p.read(gctx, newLines(plain), free, full)
	})
	group.Go(func() error {
		for c := range full {
			written, err := p.write(gctx, c)
			if err != nil {
				return err
			}
			done = done.plus(written)
			p.progress(done)
			free <- c
		}
		return nil
	})
	err = group.Wait()
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return done, err
}

// read fills chunks with lines.
func (p *Publisher) read(ctx context.Context, lines *lines, free <-chan *chunk, full chan<- *chunk) error {
	for more := true; more; {
		var c *chunk
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case c = <-free:
		}
		c.reset()
		for more && c.count < p.chunkLines && len(c.buf) < chunkBytes {
			from := len(c.buf)
			buf, err := lines.next(c.buf)
			line := buf[from:len(buf):len(buf)]
			c.buf = buf
			switch {
			case errors.Is(err, io.EOF):
				more = false
			case errors.Is(err, errLineTooLong):
				c.tooLong = append(c.tooLong, lines.number)
			case err != nil:
				return err
			case len(line) > 0:
				p.route(c, line, lines.number)
			}
		}
		if err := p.pace.WaitN(ctx, c.count); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case full <- c:
		}
	}
	return nil
}

// route adds a line to the messages of its topic.
func (p *Publisher) route(c *chunk, line []byte, number int64) {
	t, tenant, ok := schemas.SniffType(line)
	if !ok {
		t = schemas.AgentSession
	}
	m := Message{Value: line}
	if tenant != "" {
		m.Key = []byte(tenant)
	}
	topic := p.prefix + t.Topic()
	c.messages[topic] = append(c.messages[topic], m)
	c.numbers[topic] = append(c.numbers[topic], number)
	c.count++
}

// write sends a chunk and counts it.
func (p *Publisher) write(ctx context.Context, c *chunk) (Published, error) {
	done := Published{Topics: make(map[string]int64), LeftOut: c.tooLong}
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	for topic, messages := range c.messages {
		group.Go(func() error {
			tooLarge, err := p.client.Send(ctx, topic, messages)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			for i, m := range messages {
				if slices.Contains(tooLarge, i) {
					done.LeftOut = append(done.LeftOut, c.numbers[topic][i])
					continue
				}
				done.Lines++
				done.Bytes += int64(len(m.Value))
				done.Topics[topic]++
			}
			return nil
		})
	}
	return done, group.Wait()
}

// plus returns the sum of two counts.
func (p Published) plus(q Published) Published {
	p.Lines += q.Lines
	p.Bytes += q.Bytes
	p.Topics = maps.Clone(p.Topics)
	for topic, n := range q.Topics {
		p.Topics[topic] += n
	}
	p.LeftOut = slices.Concat(p.LeftOut, q.LeftOut)
	slices.Sort(p.LeftOut)
	return p
}

// gunzip returns what r says, unpacked if it is gzipped.
func gunzip(r io.Reader) (io.Reader, error) {
	b := bufio.NewReaderSize(r, 64<<10)
	if magic, _ := b.Peek(2); string(magic) != "\x1f\x8b" {
		return b, nil
	}
	return gzip.NewReader(b)
}

// lines splits at line feeds, and at nothing else.
type lines struct {
	r      *bufio.Reader
	number int64 // of the line last read, from 1
}

func newLines(r io.Reader) *lines { return &lines{r: bufio.NewReaderSize(r, 256<<10)} }

// maxLine leaves room in a record for its key and framing.
const maxLine = MaxMessageBytes - 64<<10

var errLineTooLong = errors.New("the line is too large for a Kafka record")

// next appends the next line to dst, without its line feed. The last line may
// lack one. A line over maxLine is read to its end, appended not at all, and
// reported as errLineTooLong; after the last line comes io.EOF.
func (l *lines) next(dst []byte) ([]byte, error) {
	from, tooLong, empty := len(dst), false, true
	for {
		part, err := l.r.ReadSlice('\n')
		empty = empty && len(part) == 0
		if len(dst)-from+len(part) > maxLine+len("\n") {
			tooLong, dst = true, dst[:from]
		}
		if !tooLong {
			dst = append(dst, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF) && !empty:
		case err != nil:
			return dst[:from], err
		}
		l.number++
		if tooLong {
			return dst, errLineTooLong
		}
		return bytes.TrimSuffix(dst, []byte("\n")), nil
	}
}
