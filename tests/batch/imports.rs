//! Imports: JSON, CSV, forms, dry runs; exports.

use crate::setup::{Setup, accepted, on_both};
use serde_json::json;
use std::rc::Rc;

on_both!(a_json_import_skips_or_merges () |s: Rc<Setup>| Box::pin(async move {
    let body = json!({ "contacts": [
        { "phoneE164": "+60123456789", "name": "Ann", "tags": ["a"] },
        { "phoneE164": "12" },
        { "phoneE164": "+60 12-345 6789", "name": "Ann again" },
    ] });
    let done = s.ended(&accepted(s.admin.post("/batch/import", &body).await.expect(202))).await;
    let counts = |b: &serde_json::Value| (b["successCount"].as_i64(), b["failedCount"].as_i64(), b["skippedCount"].as_i64());
    assert_eq!(counts(&done), (Some(1), Some(1), Some(1)));
    let body = json!({ "contacts": [{ "phoneE164": "+60123456789", "name": "Anna" }], "skipDuplicates": false });
    let done = s.ended(&accepted(s.admin.post("/batch/import", &body).await.expect(202))).await;
    assert_eq!(counts(&done), (Some(1), Some(0), Some(0)));
    let id = done["id"].as_str().expect("id");
    let item = &s.items(id).await[0];
    let preview = json!({ "contactIds": [item["contactId"]], "content": "{{ name }}", "scheduleAt": "2099-01-01T00:00:00Z" });
    let batch = accepted(s.admin.post("/batch/send", &preview).await.expect(202));
    let preview = s.admin.get(&format!("/batch/{batch}/preview")).await.expect(200);
    assert_eq!(preview["data"][0]["message"], "Anna");
    s.audited().await;
}));

on_both!(a_csv_file_is_read_planned_and_exported () |s: Rc<Setup>| Box::pin(async move {
    let csv = "Name;Mobile;Labels;city\nAnn;+60123456789;\"vip;new\";Ipoh\n=cmd();+60123456780;;\nBad;12;;\nshort\n";
    let post = async |query: &str| {
        let request = s.admin.request(support::Method::POST, &format!("/batch/import{query}"))
            .header("content-type", "text/csv; charset=utf-8").body(csv);
        s.admin.send(request).await
    };
    let plan = post("?dryRun=true&mapping=%7B%22city%22%3A%22attributes.city%22%7D").await.expect(200);
    let data = &plan["data"];
    assert_eq!((&data["totalCount"], &data["createCount"], &data["failCount"]), (&json!(4), &json!(2), &json!(2)));
    assert_eq!(data["columns"], json!({ "Name": "name", "Mobile": "phone", "Labels": "tags", "city": "attributes.city" }));
    assert_eq!(data["errors"].as_array().expect("errors").iter().map(|e| e["line"].as_i64()).collect::<Vec<_>>(), [Some(4), Some(5)]);
    assert_eq!(s.admin.get("/batch?type=IMPORT").await.expect(200)["meta"]["count"], 0, "a dry run writes nothing");
    let done = s.ended(&accepted(post("?tags=file&source=trade%20fair").await.expect(202))).await;
    assert_eq!((&done["successCount"], &done["failedCount"]), (&json!(2), &json!(2)));
    let id = done["id"].as_str().expect("id");
    let exported = s.admin.get(&format!("/batch/{id}/items.csv")).await;
    assert_eq!(exported.status, 200);
    assert_eq!(exported.text.lines().count(), 5);
    assert!(exported.text.contains("line 4"), "{}", exported.text);
    for (body, word) in [("a,b\n1,2\n", "mapping"), ("", "file"), ("ph\u{0}ne\n", "file")] {
        let request = s.admin.request(support::Method::POST, "/batch/import").header("content-type", "text/csv").body(body);
        let refused = s.admin.send(request).await.expect(400);
        assert_eq!(refused["error"]["details"][0]["field"], word, "{refused}");
    }
}));

on_both!(a_workbook_is_read_like_any_file () |s: Rc<Setup>| Box::pin(async move {
    let mut book = rust_xlsxwriter::Workbook::new();
    let sheet = book.add_worksheet();
    for (row, cells) in [["Phone number", "Full name", "City"], ["+60123456789", "Ann", "Ipoh"], ["60 12-345 6780", "Bob", ""], ["12", "Bad", ""]].iter().enumerate() {
        for (column, cell) in cells.iter().enumerate() {
            sheet.write(u32::try_from(row).expect("few"), u16::try_from(column).expect("few"), *cell).expect("written");
        }
    }
    // A number that was typed as one.
    sheet.write(4, 0, 60_123_456_781_f64).expect("written");
    let bytes = book.save_to_buffer().expect("saved");
    let request = s.admin.request(support::Method::POST, "/batch/import")
        .header("content-type", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet").body(bytes.clone());
    let done = s.ended(&accepted(s.admin.send(request).await.expect(202))).await;
    assert_eq!((&done["successCount"], &done["failedCount"]), (&json!(3), &json!(1)), "{done}");
    let failed = s.items(done["id"].as_str().expect("id")).await.into_iter().find(|i| i["status"] == "failed").expect("one");
    assert!(failed["errorMessage"].as_str().is_some_and(|m| m.starts_with("line 4")), "{failed}");
    // Cut off in the middle, it is no workbook.
    let request = s.admin.request(support::Method::POST, "/batch/import")
        .header("content-type", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet").body(bytes[..bytes.len() / 2].to_vec());
    let refused = s.admin.send(request).await.expect(400);
    assert_eq!(refused["error"]["details"][0]["field"], "file", "{refused}");
}));

on_both!(an_encoding_is_found_out_or_told () |s: Rc<Setup>| Box::pin(async move {
    let latin = b"phone,name\n+60123456780,Ann\n+60123456789,Jos\xe9\n".to_vec();
    let utf16: Vec<u8> =
        "\u{feff}phone\tname\n+60123456787\tBo\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let bom = b"\xef\xbb\xbfphone\tname\n+60123456788\tAnn\n".to_vec();
    for body in [utf16, bom] {
        let request = s.admin.request(support::Method::POST, "/batch/import").header("content-type", "text/csv").body(body);
        assert_eq!(s.ended(&accepted(s.admin.send(request).await.expect(202))).await["successCount"], json!(1));
    }
    // Latin letters in no encoding that is told.
    let request = s.admin.request(support::Method::POST, "/batch/import").header("content-type", "text/csv").body(latin);
    let done = s.ended(&accepted(s.admin.send(request).await.expect(202))).await;
    assert_eq!((&done["successCount"], &done["failedCount"]), (&json!(2), &json!(0)));
    // Where only some lines are wrong, they are told one by one.
    let mut mixed = "phone,name\n+60123456784,王小明先生您好欢迎光临\n+60123456785,".as_bytes().to_vec();
    mixed.extend(b"Jos\xe9\n");
    let request = s.admin.request(support::Method::POST, "/batch/import").header("content-type", "text/csv").body(mixed);
    let done = s.ended(&accepted(s.admin.send(request).await.expect(202))).await;
    assert_eq!((&done["successCount"], &done["failedCount"]), (&json!(1), &json!(1)));
    let failed = s.items(done["id"].as_str().expect("id")).await.into_iter().find(|i| i["status"] == "failed").expect("one");
    assert!(failed["errorMessage"].as_str().is_some_and(|m| m.starts_with("line 3") && m.contains("UTF-8")), "{failed}");
}));
