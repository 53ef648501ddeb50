## What the queue works on: imports, tags, deletions, templates, suppressions, people, statistics

# 列表与筛选
filter-without = 移除 { $value }
bad-filter = 本列表没有“{ $value }”这一筛选条件。请使用括号中的条件之一。
bad-day = “{ $value }”不是日期。请写成 2026-11-30 的形式。
bad-creator = 没有邮箱为“{ $value }”的用户。请填写邮箱、编号，或 creator:me。
batches-filter-help = 例如：status:failed type:send creator:me text:"夏季促销" after:2026-11-01 before:2026-12-01（按 UTC 日期）
creator = 创建人
user-number = 用户 { $value }
act = 操作
select = 选择
select-batch = 选择批次 { $value }

# 多个批次
chosen = 已选：
selected-pause = 暂停所选批次
selected-resume = 继续所选批次
selected-cancel = 取消所选批次…
selected-none = 没有选择批次，或选择过多。请选择 1 到 { $value } 个。
selected-ended = 这些批次都已结束，没有可取消的内容。
selected-outcome = 结果
selected-done-pause = 已暂停
selected-done-resume = 已继续
selected-done-cancel = 10 秒后取消
selected-done-keep = 未取消
selected-count = { $count ->
   *[other] （{ $shown } 个批次）
}
ask-cancel-many = { $count ->
   *[other] 取消 { $shown } 个批次？
}
act-cancel-many = { $count ->
   *[other] 10 秒后取消 { $shown } 个批次
}
ask-keep-many = 不取消

# 可以撤销的操作
ask-cancel-flight = { $count ->
    [0] 没有正在发送的收件人。
   *[other] { $shown } 个正在发送，会完成并计入结果。
}
cancel-at = 批次将被取消，时间
cancel-keep = 撤销取消
done-kept = 批次继续进行，没有取消。
ask-retry-cause = { $count ->
   *[other] 重试因 { $value } 失败的 { $shown } 个收件人？
}

# 为什么还没有发送？
hold-asked-again = 上一次发送的结果未知。将以同一编号再次询问网关，时间
hold-in-doubt = 上一次发送的结果未知，本批次把它留给人工处理。重试本批次，网关会按同一编号给出结果。
hold-suppressed = 联系人不接收群发消息，将被跳过。
hold-no-number = 联系人没有电话号码，将会失败。
hold-no-contact = 没有这个联系人，将会失败。
hold-at-work = 工作进程 { $value } 正在处理它所在的部分，开始于
hold-no-worker = 没有工作进程处理它所在的部分：工作进程是否在运行？应处理的时间
hold-job-retried = 它所在部分的任务失败，再次尝试的时间
hold-other-release = 它所在的部分只有其他版本能处理。请更新工作进程，之后会自动继续。
keys-select = 选择该行
keys-acts = 转到本页的操作
