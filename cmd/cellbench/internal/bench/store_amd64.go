package bench

// storeWord is a release store: a plain MOV on amd64, as the C limit has it.
func storeWord(p *uint64, v uint64) { *p = v }
