-- ARGV: project. {images, bytes, jobs}: what it has stored, and its jobs that wait or run.
local project = ARGV[2]
count_usage(project)
local used = redis.call('HMGET', usage_key(project), 'images', 'bytes')
return {tonumber(used[1]), tonumber(used[2]), count_jobs(project)}
