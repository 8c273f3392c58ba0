-- Whose content of a chunk is to be kept, a letter a mail: 'k', or '-' for what nobody will send again; empty for a
-- chunk that is not there, or not finished.

local chunk = open(args.chunk)
return chunk and chunk.unfinished == 0 and kept(chunk) or ''
