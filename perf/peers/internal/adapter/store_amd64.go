package adapter

// storeWord is a release store: a plain MOV on amd64, where atomic.Store is an
// exchange with a full fence.
func storeWord(p *uint64, v uint64) { *p = v }
