package main

import (
	"encoding/json"
	"io"
	"net/http"
	"sync"
)

// journal is where requests are written down, each before its answer goes out: who has the answer finds it here.
type journal struct {
	mu  sync.Mutex
	out io.Writer
}

type entry struct {
	Method        string `json:"method"`
	URL           string `json:"url"` // with the host that was asked, without scheme
	Status        int    `json:"status"`
	Range         string `json:"range,omitempty"`
	Encoding      string `json:"acceptEncoding,omitempty"`
	Authorization bool   `json:"authorization,omitempty"`
}

func (j *journal) write(e entry) {
	line, _ := json.Marshal(e) //nolint:errcheck // strings and numbers

	j.mu.Lock()
	defer j.mu.Unlock()

	j.out.Write(append(line, '\n')) //nolint:errcheck // a test that misses the line says so
}

func (j *journal) writing(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := &answer{ResponseWriter: w, journal: j, entry: entry{
			Method: r.Method, URL: r.Host + r.URL.RequestURI(), Range: r.Header.Get("Range"),
			Encoding: r.Header.Get("Accept-Encoding"), Authorization: r.Header.Get("Authorization") != "",
		}}

		next.ServeHTTP(a, r)
		a.begin(http.StatusOK)
	})
}

type answer struct {
	http.ResponseWriter
	journal *journal
	entry   entry
}

func (a *answer) begin(status int) {
	if a.entry.Status == 0 {
		a.entry.Status = status
		a.journal.write(a.entry)
	}
}

func (a *answer) WriteHeader(status int) {
	a.begin(status)
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(body []byte) (int, error) {
	a.begin(http.StatusOK)

	return a.ResponseWriter.Write(body)
}
